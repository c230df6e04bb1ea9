/// @file generate_mpi.cpp
/// Samples digits on any number of processes into one NumPy file:
///
///     mpirun -n 4 generate_mpi --count 10000 --out samples.npy
///
/// The bytes of the file do not depend on the number of processes or the batch size, because sample
/// n draws its noise from stream n, and the model's answer for a sample does not depend on its
/// batch. A job that was killed and is started again, with any number of processes, makes the
/// missing samples only (common/sample_file.hpp).
///
/// The processes send each other nothing while they sample. Each makes its sample_range of the
/// missing samples, in batches, and writes them to their places in the file.
#include <mpi.h>

#include <algorithm>  // std::min
#include <cstddef>    // std::size_t
#include <cstdint>
#include <cstdio>
#include <diffusion/diffusion.hpp>
#include <diffusion/interop/mpi.hpp>
#include <string>
#include <vector>

#include "common/digit_model.hpp"
#include "common/digits.hpp"
#include "common/options.hpp"
#include "common/progress.hpp"
#include "common/sample_file.hpp"

using Batch = Eigen::Tensor<float, 4, Eigen::RowMajor>;  // [N, 1, 8, 8]
using Eigen::Index;

/// Returns samples first, ..., first + count - 1 of this seed.
Batch generate(const std::string& sampler, const diffusion::TimeGrid& grid, const example::DigitModel& model,
               std::uint32_t seed, Index first, Index count) {
  const auto network = [&](const Batch& x, const Eigen::Tensor<float, 1>& t, Batch& x_0) { model(x, t, x_0); };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);
  diffusion::PhiloxNoise noise(seed, std::uint64_t(first));
  Batch x(count, 1, example::digit_side, example::digit_side);
  noise(x);
  const auto run = [&](const auto& s) { return diffusion::sample(s, grid, denoiser, x, noise); };
  if (sampler == "ddim") return run(diffusion::Ddim{});
  if (sampler == "dpmpp_2m") return run(diffusion::DpmSolverPP{});
  if (sampler == "dpmpp_2m_sde") return run(diffusion::DpmSolverPP{2, diffusion::DpmSolverType::midpoint, 1.0});
  return run(diffusion::DpmSolverAdaptive{});
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const MPI_Comm comm = MPI_COMM_WORLD;
  int rank = 0, ranks = 1;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &ranks);

  std::string path = EXAMPLE_DATA_DIR "/digits.csv", sampler = "dpmpp_2m_sde", out = "samples.npy";
  Index count = 1000, batch = 64, steps = 20;
  std::uint32_t seed = 1;
  bool progress = example::stderr_is_terminal();
  example::Options options("generate_mpi", "Samples digits on the processes of mpirun into one NumPy file.", rank == 0);
  options.add("digits", path, "CSV file of digits (default: the bundled digits.csv)");
  options.add("--count", count, "number of samples", 1, 1000000000);
  options.add("--batch", batch, "samples in a batch; does not change the samples", 1, 100000);
  options.add("--steps", steps, "number of sampling steps", 1, 1000);
  options.add_choice("--sampler", sampler, "the sampler", {"ddim", "dpmpp_2m", "dpmpp_2m_sde", "dpm_adaptive"});
  options.add_seed(seed, "seed of the noise");
  options.add("--out", out, "NumPy file to write, or to complete");
  options.add_flag("--progress", progress, "draw a progress bar even if stderr is not a terminal");

  const int code = options.run(argc, argv, [&] {
    example::Digits digits;
    diffusion::on_all_ranks(comm, [&] { digits = example::read_digits(path); });
    const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
    const example::DigitModel model(process, digits);
    const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, steps);

    const auto checksum = example::checksum(digits.data(), std::size_t(digits.size()) * sizeof(double));
    const std::string settings = "--count " + std::to_string(count) + " --steps " + std::to_string(steps) +
                                 " --sampler " + sampler + " --seed " + std::to_string(seed) + " and digits " +
                                 std::to_string(checksum);
    example::SampleFile file(comm, out, settings, count, {1, example::digit_side, example::digit_side});
    const bool adaptive = sampler == "dpm_adaptive";
    if (adaptive) batch = 1;
    if (rank == 0) {
      std::printf("%s has %ld of %ld samples; processes: %d\n", out.c_str(), long(count - file.num_missing()),
                  long(count), ranks);
      if (adaptive) std::puts("dpm_adaptive chooses its steps for a whole batch, so it makes one sample at a time.");
      std::fflush(stdout);
    }

    example::Progress bar("process 0", file.num_missing() / ranks + 1, progress && rank == 0);
    diffusion::on_all_ranks(comm, [&] {
      Index made = 0;
      for (const diffusion::SampleRange& range : file.mine()) {
        for (Index first = range.begin; first < range.end; first += batch) {
          const Index n = (std::min)(batch, range.end - first);
          file.write(first, generate(sampler, grid, model, seed, first, n));
          bar(made += n);
        }
      }
    });
    file.sync();
    if (rank == 0) std::printf("Wrote %ld samples to %s\n", long(file.num_missing()), out.c_str());
    return 0;
  });
  MPI_Finalize();
  return code;
}
