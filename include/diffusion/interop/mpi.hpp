/// @file mpi.hpp
/// Samples and training losses over the processes (ranks) of an MPI job. It includes mpi.h, and is
/// not part of diffusion.hpp.
///
/// Sampling needs no communication: sample n draws its noise from stream n of PhiloxNoise, so each
/// rank makes its own range of samples, and the samples do not depend on the number of ranks:
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
/// #include <diffusion/interop/mpi.hpp>
///
/// int main(int argc, char** argv) {
///   using Batch = Eigen::Tensor<float, 2, Eigen::RowMajor>;  // [samples, values]
///   MPI_Init(&argc, &argv);
///   int rank = 0, size = 0;
///   MPI_Comm_rank(MPI_COMM_WORLD, &rank);
///   MPI_Comm_size(MPI_COMM_WORLD, &size);
///
///   const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(1000));
///   const auto spacing = diffusion::TimestepSpacing::trailing;
///   const auto grid = diffusion::timestep_grid(process, spacing, 10);
///   // Stands for a network that predicts x_0.
///   const auto network = [](const Batch& x, const auto&) { return x.constant(0.5f); };
///   const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);
///
///   const auto range = diffusion::sample_range(100, rank, size);
///   diffusion::PhiloxNoise noise(42, range.begin);  // sample n draws from stream n
///   Batch x(range.size(), 8);
///   noise(x);
///   const Batch mine = diffusion::sample(diffusion::EulerAncestral{}, grid, denoiser, x, noise);
///   const Batch all = diffusion::gather_samples(mine, MPI_COMM_WORLD);  // on rank 0
///
///   MPI_Finalize();
///   return rank > 0 || all.dimension(0) == 100 ? 0 : 1;
/// }
/// @endcode
#pragma once

#include <mpi.h>

#include <Eigen/Core>
#include <cstddef>  // std::size_t
#include <cstdint>
#include <exception>
#include <limits>
#include <new>        // std::bad_alloc
#include <stdexcept>  // std::invalid_argument, std::runtime_error
#include <string>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::forward
#include <vector>

#include "../detail/arguments.hpp"
#include "../detail/error.hpp"
#include "../detail/shape.hpp"
#include "../noise/sample_range.hpp"
#include "../tensor.hpp"
#include "../training/timestep_samplers.hpp"

namespace diffusion {

/// Calls work() on every rank of `comm`, and returns when all have finished. If work() throws on
/// any rank, throws std::runtime_error on all of them, with the message of the lowest such rank. So
/// all ranks go on, or all stop, and none waits for one that has stopped.
///
/// work() must not wait for another rank, which may have thrown. A rank that cannot go on in the
/// middle of communication must call MPI_Abort.
///
///     on_all_ranks(MPI_COMM_WORLD, [&] { network.load("weights.bin"); });
template <class Work>
void on_all_ranks(MPI_Comm comm, Work&& work) {
  int rank = 0, size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  std::string error;
  int first_failed = size;
  try {
    std::forward<Work>(work)();
  } catch (const std::bad_alloc&) {
    first_failed = rank, error = "out of memory";
  } catch (const std::exception& e) {
    first_failed = rank, error = e.what();
  } catch (...) {
    first_failed = rank, error = "an exception that is not a std::exception";
  }
  MPI_Allreduce(MPI_IN_PLACE, &first_failed, 1, MPI_INT, MPI_MIN, comm);
  if (first_failed == size) return;
  int length = static_cast<int>(error.size());
  MPI_Bcast(&length, 1, MPI_INT, first_failed, comm);
  error.resize(static_cast<std::size_t>(length));
  MPI_Bcast(error.data(), length, MPI_CHAR, first_failed, comm);
  throw std::runtime_error(first_failed == 0 ? error : "rank " + std::to_string(first_failed) + ": " + error);
}

namespace detail {

/// An MPI datatype of `bytes` bytes. MPI counts are ints, so a message above 2 GB needs a larger
/// datatype.
class MpiBlock {
 public:
  explicit MpiBlock(Eigen::Index bytes) {
    MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &type_);
    MPI_Type_commit(&type_);
  }
  MpiBlock(const MpiBlock&) = delete;
  MpiBlock& operator=(const MpiBlock&) = delete;
  ~MpiBlock() { MPI_Type_free(&type_); }
  /// The datatype.
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

/// Returns the offset of each rank's part, followed by the sum of the counts. Throws
/// std::invalid_argument if the sum is not an int.
inline std::vector<int> offsets(const char* where, const std::vector<std::int64_t>& counts) {
  std::vector<int> out(1, 0);
  for (const std::int64_t count : counts) {
    const std::int64_t sum = out.back() + count;
    if (sum > (std::numeric_limits<int>::max)()) {
      fail<std::invalid_argument>(where, "the ranks together have more than 2^31 - 1 entries");
    }
    out.push_back(static_cast<int>(sum));
  }
  return out;
}

}  // namespace detail

/// Returns the samples of all ranks on rank `root`, in the order of the ranks, and an empty tensor
/// on the other ranks. `mine` is an Eigen tensor or map of shape [N_r, ...] on rank r; the result
/// has the shape [N_0 + N_1 + ..., ...]. All ranks must call the function, also with no samples.
/// Throws std::invalid_argument on all ranks if the shape of a sample is not the same on all of
/// them.
///
/// The result must fit into the memory of one rank; std::runtime_error is thrown on all ranks if it
/// does not. A sample may have 2^31 - 1 bytes, and all ranks together as many samples; otherwise
/// std::invalid_argument is thrown on all ranks. Large jobs write their samples to a file instead;
/// see examples/studies/generate_mpi.cpp.
template <class X>
[[nodiscard]] PlainTensor<X> gather_samples(const X& mine, MPI_Comm comm, int root = 0) {
  using Tensor = PlainTensor<X>;
  using Map = Eigen::TensorMap<const Tensor>;
  constexpr const char* where = "gather_samples";
  constexpr auto rank = static_cast<std::size_t>(detail::Traits<Tensor>::rank);
  static_assert(detail::is_stored_v<X> && rank > 0,
                "diffusion: gather_samples needs an Eigen tensor or map whose first axis is the batch");
  int size = 0, me = 0;
  MPI_Comm_size(comm, &size);
  MPI_Comm_rank(comm, &me);
  const auto ranks = static_cast<std::size_t>(size);
  std::vector<std::int64_t> sizes(mine.dimensions().begin(), mine.dimensions().end()), all(ranks * rank);
  MPI_Allgather(sizes.data(), static_cast<int>(rank), MPI_INT64_T, all.data(), static_cast<int>(rank), MPI_INT64_T,
                comm);
  std::vector<std::int64_t> sizes_of_ranks;
  Eigen::Index values = 1;
  for (std::size_t axis = 1; axis < rank; ++axis) values *= static_cast<Eigen::Index>(all[axis]);
  for (std::size_t r = 0; r < ranks; ++r) {
    sizes_of_ranks.push_back(all[r * rank]);
    for (std::size_t axis = 1; axis < rank; ++axis) {
      if (all[r * rank + axis] != all[axis]) {
        detail::fail<std::invalid_argument>(
            where, "axis ", static_cast<Eigen::Index>(axis), " of the samples has size ",
            static_cast<Eigen::Index>(all[r * rank + axis]), " on rank ", static_cast<Eigen::Index>(r), ", but ",
            static_cast<Eigen::Index>(all[axis]), " on rank 0");
      }
    }
  }
  const Eigen::Index bytes = values * static_cast<Eigen::Index>(sizeof(typename Tensor::Scalar));
  if (bytes > (std::numeric_limits<int>::max)()) {
    detail::fail<std::invalid_argument>(where, "a sample has ", bytes, " bytes; the limit is 2^31 - 1");
  }
  const std::vector<int> begins = detail::offsets(where, sizes_of_ranks);
  const std::vector<int> counts(sizes_of_ranks.begin(), sizes_of_ranks.end());
  auto shape = mine.dimensions();
  shape[0] = me == root ? begins.back() : 0;
  Tensor received;
  on_all_ranks(comm, [&] { received.resize(shape); });  // there may be no memory on the root
  const detail::MpiBlock sample(bytes);
  MPI_Gatherv(mine.data(), counts[static_cast<std::size_t>(me)], sample.get(), received.data(), counts.data(),
              begins.data(), sample.get(), root, comm);
  if (detail::Traits<Tensor>::layout == Eigen::RowMajor || rank == 1 || me != root) return received;
  // In ColMajor, the samples of one rank lie together: insert each part at its place.
  Tensor out(shape);
  for (std::size_t r = 0; r < ranks; ++r) {
    auto start = shape;
    for (std::size_t axis = 0; axis < rank; ++axis) start[axis] = 0;
    start[0] = begins[r], shape[0] = counts[r];
    if (counts[r] > 0) out.slice(start, shape) = Map(received.data() + begins[r] * values, shape);
  }
  return out;
}

/// Returns the losses of all ranks, in the order of the ranks, on every rank. It is the `gather` of
/// LossSecondMomentResampler::update_with_local_losses:
///
///     resampler.update_with_local_losses(t, losses, [&](const TimestepLosses& mine) {
///       return all_gather_losses(mine, MPI_COMM_WORLD);
///     });
///
/// Ranks may have different numbers of losses. If the ranks hold the parts of one batch, in order,
/// the result is the same for every number of ranks, and so are the next timesteps that are drawn.
/// Throws std::invalid_argument on all ranks if losses and timesteps differ in size on any of them,
/// or the ranks together have 2^31 losses.
[[nodiscard]] inline std::vector<TimestepLosses> all_gather_losses(const TimestepLosses& mine, MPI_Comm comm) {
  constexpr const char* where = "all_gather_losses";
  int size = 0;
  MPI_Comm_size(comm, &size);
  const auto ranks = static_cast<std::size_t>(size);
  // The numbers of losses of the ranks; -1 if a rank has another number of timesteps.
  const std::int64_t mine_count = mine.losses.size() == mine.timesteps.size() ? mine.losses.size() : -1;
  std::vector<std::int64_t> all(ranks);
  MPI_Allgather(&mine_count, 1, MPI_INT64_T, all.data(), 1, MPI_INT64_T, comm);
  for (std::size_t r = 0; r < ranks; ++r) {
    if (all[r] < 0) {
      detail::fail<std::invalid_argument>(where, "losses and timesteps have different sizes on rank ",
                                          static_cast<Eigen::Index>(r));
    }
  }
  const std::vector<int> begins = detail::offsets(where, all), counts(all.begin(), all.end());
  const auto count = static_cast<int>(mine_count);
  const std::vector<std::int64_t> my_timesteps(mine.timesteps.data(), mine.timesteps.data() + count);
  std::vector<std::int64_t> timesteps(static_cast<std::size_t>(begins.back()));
  std::vector<double> losses(timesteps.size());
  MPI_Allgatherv(my_timesteps.data(), count, MPI_INT64_T, timesteps.data(), counts.data(), begins.data(), MPI_INT64_T,
                 comm);
  MPI_Allgatherv(mine.losses.data(), count, MPI_DOUBLE, losses.data(), counts.data(), begins.data(), MPI_DOUBLE, comm);
  std::vector<TimestepLosses> out;
  for (std::size_t r = 0; r < ranks; ++r) {
    out.push_back({Timesteps(counts[r]), Eigen::Tensor<double, 1>(counts[r])});
    for (int i = 0; i < counts[r]; ++i) {
      const auto at = static_cast<std::size_t>(begins[r] + i);
      out.back().timesteps(i) = static_cast<Eigen::Index>(timesteps[at]);
      out.back().losses(i) = losses[at];
    }
  }
  return out;
}

}  // namespace diffusion
