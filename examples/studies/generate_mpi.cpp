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
#include <map>
#include <optional>
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
Batch generate(const diffusion::AnySampler<Batch>& sampler, const diffusion::TimeGrid& grid,
               const example::DigitModel& model, std::uint32_t seed, Index first, Index count) {
  const auto network = [&](const Batch& x, const Eigen::Tensor<float, 1>& t, Batch& x_0) { model(x, t, x_0); };
  const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);
  diffusion::PhiloxNoise noise(seed, std::uint64_t(first));
  Batch x(count, 1, example::digit_side, example::digit_side);
  noise(x);
  return diffusion::sample(sampler, grid, denoiser, x, noise);
}

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const MPI_Comm comm = MPI_COMM_WORLD;
  int rank = 0, ranks = 1;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &ranks);

  const std::map<std::string, diffusion::AnySampler<Batch>> samplers = {
      {"ddim", diffusion::Ddim{}},
      {"dpmpp_2m", diffusion::DpmSolverPP{}},
      {"dpmpp_2m_sde", diffusion::DpmSolverPP{2, diffusion::DpmSolverType::midpoint, 1.0}},
      {"dpm_adaptive", diffusion::DpmSolverAdaptive{}},
  };
  std::string path = EXAMPLE_DATA_DIR "/digits.csv", sampler = "dpmpp_2m_sde", out = "samples.npy";
  Index count = 1000, batch = 64, steps = 20;
  std::uint32_t seed = 1;
  bool progress = example::stderr_is_terminal();
  example::Options options("generate_mpi", "Samples digits on the processes of mpirun into one NumPy file.", rank == 0);
  options.add("digits", path, "CSV file of digits (default: the bundled digits.csv)");
  options.add("--count", count, "number of samples", 1, 1000000000);
  options.add("--batch", batch, "samples in a batch; does not change the samples", 1, 100000);
  options.add("--steps", steps, "number of sampling steps", 1, 1000);
  std::vector<std::string> names;
  for (const auto& [name, any] : samplers) names.push_back(name);
  options.add_choice("--sampler", sampler, "the sampler", names);
  options.add_seed(seed, "seed of the noise");
  options.add("--out", out, "NumPy file to write, or to complete");
  options.add_flag("--progress", progress, "draw a progress bar even if stderr is not a terminal");

  const int code = options.run(argc, argv, [&] {
    std::optional<example::DigitModel> model;
    std::optional<diffusion::TimeGrid> grid;
    std::string settings;
    diffusion::on_all_ranks(comm, [&] {
      const example::Digits digits = example::read_digits(path);
      const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
      model.emplace(process, digits);
      grid.emplace(diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, steps));
      settings = "--count " + std::to_string(count) + " --steps " + std::to_string(steps) + " --sampler " + sampler +
                 " --seed " + std::to_string(seed) + " and digits " +
                 std::to_string(example::checksum(digits.data(), std::size_t(digits.size()) * sizeof(double)));
    });
    example::SampleFile file(comm, out, settings, count, {1, example::digit_side, example::digit_side});
    const bool adaptive = sampler == "dpm_adaptive";
    if (adaptive) batch = 1;
    if (rank == 0) {
      std::printf("%s has %ld of %ld samples; processes: %d\n", out.c_str(), long(count - file.num_missing()),
                  long(count), ranks);
      if (adaptive) std::puts("dpm_adaptive chooses its steps for a whole batch, so it makes one sample at a time.");
      std::fflush(stdout);
    }

    diffusion::on_all_ranks(comm, [&] {
      Index made = 0, to_make = 0;
      for (const diffusion::SampleRange& range : file.mine()) to_make += range.size();
      example::Progress bar("process 0", to_make, progress && rank == 0);
      for (const diffusion::SampleRange& range : file.mine()) {
        for (Index first = range.begin; first < range.end; first += batch) {
          const Index n = (std::min)(batch, range.end - first);
          file.write(first, generate(samplers.at(sampler), *grid, *model, seed, first, n));
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
