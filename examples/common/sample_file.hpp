/// @file sample_file.hpp
/// A NumPy file that the ranks of an MPI job fill with samples, and that remembers which samples it
/// has, so that a job that was killed makes only the missing ones when it is started again.
#pragma once

#include <mpi.h>

#include <algorithm>  // std::count, std::min, std::replace
#include <cerrno>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <cstring>  // std::strerror
#include <diffusion/interop/mpi.hpp>
#include <filesystem>
#include <fstream>
#include <memory>  // std::unique_ptr
#include <stdexcept>
#include <string>
#include <system_error>  // std::error_code
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::move, std::pair
#include <vector>

namespace example {

using Eigen::Index;

/// Returns a checksum of these bytes (FNV-1a), which is never 0. Damaged data has another one,
/// except by a chance of about 2^-64.
inline std::uint64_t checksum(const void* data, std::size_t size) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3;
  return hash == 0 ? 1 : hash;
}

/// A file that all ranks of a communicator write, by MPI-IO. Members throw std::runtime_error if
/// MPI reports an error.
class SharedFile {
 public:
  /// Opens an existing file. All ranks must call it, and be able to open the file: MPI may wait for
  /// all of them.
  SharedFile(MPI_Comm comm, std::string path) : path_(std::move(path)) {
    check(MPI_File_open(comm, path_.c_str(), MPI_MODE_RDWR, MPI_INFO_NULL, &file_), "open");
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  ~SharedFile() {
    if (file_ != MPI_FILE_NULL) MPI_File_close(&file_);
  }

  /// Writes `count` values at this byte.
  template <class T>
  void write(Index at, const T* values, Index count) {
    transfer<T>(count, "write", [&](Index i, int n, MPI_Status* status) {
      return MPI_File_write_at(file_, at + i * Index(sizeof(T)), values + i, n * int(sizeof(T)), MPI_BYTE, status);
    });
  }
  /// Reads `count` values from this byte.
  template <class T>
  void read(Index at, T* values, Index count) {
    transfer<T>(count, "read", [&](Index i, int n, MPI_Status* status) {
      return MPI_File_read_at(file_, at + i * Index(sizeof(T)), values + i, n * int(sizeof(T)), MPI_BYTE, status);
    });
  }
  /// Waits until what this rank has written is on the disk. All ranks must call it.
  void sync() { check(MPI_File_sync(file_), "write"); }

 private:
  /// Moves the values in pieces of 1 MB, because counts of MPI are ints.
  template <class T, class Move>
  void transfer(Index count, const char* what, const Move& move) {
    constexpr Index most = (Index(1) << 20) / Index(sizeof(T));
    for (Index i = 0; i < count; i += most) {
      const auto n = static_cast<int>((std::min)(most, count - i));
      MPI_Status status;
      int moved = 0;
      check(move(i, n, &status), what);
      MPI_Get_count(&status, MPI_BYTE, &moved);
      if (moved != n * int(sizeof(T))) {
        throw std::runtime_error("cannot " + std::string(what) + " all of " + path_ + "; the disk may be full");
      }
    }
  }

  void check(int code, const char* what) const {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    std::string reason(text, std::size_t(length));
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    throw std::runtime_error("cannot " + std::string(what) + " " + path_ + ": " + reason);
  }

  std::string path_;
  MPI_File file_ = MPI_FILE_NULL;
};

/// A NumPy file of `count` samples of floats, for numpy.load. Ranks write their samples to their
/// places, in any order and at any time, without waiting for each other.
///
/// A second file, <path>.progress, says how far the first is. It begins with a line of text, the
/// settings on which the samples depend, followed by one checksum of 8 bytes for each sample, or 0
/// if the sample is missing. A sample is written before its checksum, and counts as missing if the
/// two do not match. So a job may be killed at any time.
class SampleFile {
 public:
  /// Opens the file on all ranks, and creates it if it does not exist. `settings` is one line that
  /// names everything that the samples depend on. Throws std::runtime_error on all ranks if a file
  /// cannot be created or opened, belongs to other settings or has the wrong size.
  SampleFile(MPI_Comm comm, const std::string& path, const std::string& settings, Index count,
             const std::vector<Index>& sample_shape)
      : comm_(comm), count_(count), marks_at_(Index(settings.size()) + 1) {
    for (const Index size : sample_shape) sample_size_ *= size;
    const std::string head = npy_header(count, sample_shape);
    data_at_ = Index(head.size());
    const Index bytes = data_at_ + count * sample_size_ * Index(sizeof(float)), marks_bytes = marks_at_ + 8 * count;
    const std::string progress = path + ".progress";
    MPI_Comm_rank(comm, &rank_);
    MPI_Comm_size(comm, &size_);
    diffusion::on_all_ranks(comm, [&] {
      if (rank_ != 0) return;
      if (std::filesystem::exists(path)) {
        check_files(path, settings, head, bytes, marks_bytes);
      } else {
        // The samples' file appears under its name when both files are complete.
        check_space(path, bytes + marks_bytes);
        create(progress, settings + "\n", marks_bytes);
        create(path + ".new", head, bytes);
        std::filesystem::rename(path + ".new", path);
      }
    });
    diffusion::on_all_ranks(comm, [&] {
      for (const auto& [name, size] : {std::pair(path, bytes), std::pair(progress, marks_bytes)}) {
        if (!std::fstream(name) || static_cast<Index>(std::filesystem::file_size(name)) != size) {
          throw std::runtime_error("cannot open " + name +
                                   "; all processes must see the same folder, and may write it");
        }
      }
    });
    // These wait for all ranks, none of which has failed so far.
    diffusion::on_all_ranks(comm, [&] { samples_ = std::make_unique<SharedFile>(comm, path); });
    diffusion::on_all_ranks(comm, [&] { marks_ = std::make_unique<SharedFile>(comm, progress); });
    share_missing();
  }

  /// Number of samples that were missing when the file was opened.
  Index num_missing() const { return num_missing_; }
  /// The missing samples that this rank is to make, as contiguous ranges in order. The numbers of
  /// samples of any two ranks differ by at most 1.
  const std::vector<diffusion::SampleRange>& mine() const { return mine_; }

  /// Writes the samples first, first + 1, ... Does not wait for other ranks.
  template <int rank>
  void write(Index first, const Eigen::Tensor<float, rank, Eigen::RowMajor>& samples) {
    const Index n = samples.dimension(0);
    std::vector<std::uint64_t> marks;
    for (Index i = 0; i < n; ++i) marks.push_back(sample_checksum(samples.data() + i * sample_size_));
    samples_->write(place(first), samples.data(), n * sample_size_);
    marks_->write(marks_at_ + 8 * first, marks.data(), n);
  }

  /// Waits until all samples are on the disk. All ranks must call it.
  void sync() {
    diffusion::on_all_ranks(comm_, [&] { samples_->sync(); });
    diffusion::on_all_ranks(comm_, [&] { marks_->sync(); });
  }

 private:
  /// The header of version 1.0 of NumPy's format: a dictionary of type, order and shape, filled up
  /// with spaces to a multiple of 64 bytes.
  static std::string npy_header(Index count, const std::vector<Index>& sample_shape) {
    std::string shape = std::to_string(count) + ",";
    for (const Index size : sample_shape) shape += " " + std::to_string(size) + ",";
    std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
    text += std::string((64 - (10 + text.size() + 1) % 64) % 64, ' ') + "\n";
    const char length[] = {static_cast<char>(text.size() % 256), static_cast<char>(text.size() / 256)};
    return std::string("\x93NUMPY\x01\x00", 8) + std::string(length, 2) + text;
  }

  /// Throws if the disk has no room for a file of this size. A full disk is an error before the
  /// job, and not hours later.
  static void check_space(const std::string& path, Index bytes) {
    std::error_code error;  // a folder that does not exist is reported by create()
    const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
    const std::uintmax_t free = std::filesystem::space(folder, error).available;
    if (!error && free < static_cast<std::uintmax_t>(bytes)) {
      throw std::runtime_error("cannot create " + path + ": it needs " + std::to_string(bytes) +
                               " bytes, and the disk has " + std::to_string(free));
    }
  }

  /// Creates a file that begins with `head`; the rest is 0.
  static void create(const std::string& path, const std::string& head, Index bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    if (!file.write(head.data(), std::streamsize(head.size())).flush()) {
      throw std::runtime_error("cannot create " + path + ": " + std::strerror(errno));
    }
    std::filesystem::resize_file(path, static_cast<std::uintmax_t>(bytes));
  }

  /// Throws unless the files on the disk are those of these settings, header and sizes.
  static void check_files(const std::string& path, const std::string& settings, const std::string& head, Index bytes,
                          Index marks_bytes) {
    if (std::filesystem::is_directory(path)) throw std::runtime_error("cannot write " + path + ": it is a directory");
    const std::string progress = path + ".progress", advice = "; remove " + path + " to begin again";
    std::string found, found_head(head.size(), '\0');
    std::ifstream progress_file(progress);
    std::getline(progress_file, found);
    if (found.empty() || found[0] == '\0') {
      throw std::runtime_error(progress + " is missing or damaged, so nothing says how far " + path + " is" + advice);
    }
    if (found != settings) {
      throw std::runtime_error(path + " was begun with " + found + ", not with " + settings + advice);
    }
    for (const auto& [name, size] : {std::pair(path, bytes), std::pair(progress, marks_bytes)}) {
      const auto on_disk = static_cast<Index>(std::filesystem::file_size(name));
      if (on_disk != size) {
        throw std::runtime_error(name + " has " + std::to_string(on_disk) + " bytes instead of " +
                                 std::to_string(size) + advice);
      }
    }
    std::ifstream(path, std::ios::binary).read(found_head.data(), std::streamsize(head.size()));
    if (found_head != head) throw std::runtime_error(path + " does not begin with the header of its samples" + advice);
  }

  /// Finds the samples that are missing, and this rank's share of them. Each rank checks a part of
  /// the file.
  void share_missing() {
    constexpr Index piece = 1 << 16;  // of checksums
    std::vector<char> is_missing;
    std::vector<int> counts, begins;
    diffusion::on_all_ranks(comm_, [&] {
      is_missing.resize(static_cast<std::size_t>(count_));
      for (int r = 0; r < size_; ++r) {
        const diffusion::SampleRange part = diffusion::sample_range(count_, r, size_);
        begins.push_back(static_cast<int>(part.begin)), counts.push_back(static_cast<int>(part.size()));
      }
      const diffusion::SampleRange part = diffusion::sample_range(count_, rank_, size_);
      std::vector<std::uint64_t> marks(static_cast<std::size_t>((std::min)(piece, part.size())));
      std::vector<float> sample(static_cast<std::size_t>(sample_size_));
      for (Index n = part.begin; n < part.end; ++n) {
        const Index i = (n - part.begin) % piece;
        if (i == 0) marks_->read(marks_at_ + 8 * n, marks.data(), (std::min)(piece, part.end - n));
        const std::uint64_t mark = marks[static_cast<std::size_t>(i)];
        if (mark != 0) samples_->read(place(n), sample.data(), sample_size_);
        is_missing[static_cast<std::size_t>(n)] = mark == 0 || mark != sample_checksum(sample.data());
      }
    });
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_CHAR, is_missing.data(), counts.data(), begins.data(), MPI_CHAR, comm_);
    num_missing_ = std::count(is_missing.begin(), is_missing.end(), 1);
    const diffusion::SampleRange share = diffusion::sample_range(num_missing_, rank_, size_);
    Index number = 0;  // of missing samples before n
    for (Index n = 0; n < count_; ++n) {
      if (!is_missing[static_cast<std::size_t>(n)]) continue;
      if (number >= share.begin && number < share.end) {
        if (mine_.empty() || mine_.back().end != n) mine_.push_back({n, n});
        mine_.back().end = n + 1;
      }
      ++number;
    }
  }

  Index place(Index n) const { return data_at_ + n * sample_size_ * Index(sizeof(float)); }
  std::uint64_t sample_checksum(const float* sample) const {
    return checksum(sample, static_cast<std::size_t>(sample_size_) * sizeof(float));
  }

  MPI_Comm comm_;
  Index count_, sample_size_ = 1;  // values of a sample
  Index data_at_ = 0, marks_at_;   // bytes before the samples and before the checksums
  int rank_ = 0, size_ = 1;
  std::unique_ptr<SharedFile> samples_, marks_;
  Index num_missing_ = 0;
  std::vector<diffusion::SampleRange> mine_;
};

}  // namespace example
