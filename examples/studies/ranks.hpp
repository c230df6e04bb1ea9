/// @file ranks.hpp
/// The processes that train one network together: those of mpirun, or this process alone if the
/// program was built without MPI.
#pragma once

#include <torch/torch.h>

#include <diffusion/training/timestep_samplers.hpp>
#include <exception>
#include <string>
#include <vector>

#ifdef EXAMPLE_HAS_MPI
#include <mpi.h>

#include <chrono>
#include <cstdio>
#include <diffusion/interop/mpi.hpp>
#include <thread>  // std::this_thread
#endif

namespace example {

#ifdef EXAMPLE_HAS_MPI

/// The processes of mpirun. The object begins and ends MPI.
class Ranks {
 public:
  Ranks(int* argc, char*** argv) {
    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks() { MPI_Finalize(); }

  /// Number of this process, from 0.
  int rank() const { return rank_; }
  /// Number of processes.
  int size() const { return size_; }

  /// Calls work(), which must not communicate, on all ranks. An error of one is thrown on all.
  template <class Work>
  void on_all(const Work& work) const {
    diffusion::on_all_ranks(MPI_COMM_WORLD, work);
  }
  /// Calls work(), which may communicate. An error of one rank ends all processes, because the
  /// others would wait for it. It is printed once: rank 0 is the first to report an error that all
  /// ranks have.
  template <class Work>
  void together(const std::string& program, const Work& work) const {
    try {
      work();
    } catch (const std::exception& e) {
      if (size_ == 1) throw;
      if (rank_ != 0) std::this_thread::sleep_for(std::chrono::seconds(1));
      std::fprintf(stderr, "%s: rank %d: %s\n", program.c_str(), rank_, e.what());
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
  }
  /// Replaces the values, a contiguous tensor of floats, by their sum over all ranks.
  void sum(const torch::Tensor& values) const {
    MPI_Allreduce(MPI_IN_PLACE, values.data_ptr<float>(), static_cast<int>(values.numel()), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
  }
  /// Returns the losses of all ranks.
  std::vector<diffusion::TimestepLosses> gather(const diffusion::TimestepLosses& mine) const {
    return diffusion::all_gather_losses(mine, MPI_COMM_WORLD);
  }

 private:
  int rank_ = 0, size_ = 1;
};

#else

/// One process, for a program without MPI.
class Ranks {
 public:
  Ranks(int*, char***) {}
  int rank() const { return 0; }
  int size() const { return 1; }
  template <class Work>
  void on_all(const Work& work) const {
    work();
  }
  template <class Work>
  void together(const std::string&, const Work& work) const {
    work();
  }
  void sum(const torch::Tensor&) const {}
  std::vector<diffusion::TimestepLosses> gather(const diffusion::TimestepLosses& mine) const { return {mine}; }
};

#endif

}  // namespace example
