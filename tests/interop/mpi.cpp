// Tests of diffusion/interop/mpi.hpp. They run in one process and on several ranks of mpirun.
#include "diffusion/interop/mpi.hpp"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "matchers.hpp"

using diffusion::all_gather_losses;
using diffusion::gather_samples;
using diffusion::on_all_ranks;
using diffusion::sample_range;
using diffusion::TimestepLosses;
using Eigen::Index;

namespace {

/// MPI, from the first test to the end of the program.
struct Mpi {
  Mpi() {
    MPI_Init(nullptr, nullptr);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    std::atexit([] { MPI_Finalize(); });
  }
  int rank = 0, size = 1;
};
const Mpi& mpi() {
  static const Mpi mpi;
  return mpi;
}

TEST_CASE("on_all_ranks calls the work on every rank", "[mpi]") {
  int calls = mpi().rank;
  on_all_ranks(MPI_COMM_WORLD, [&] { ++calls; });
  CHECK(calls == mpi().rank + 1);
}

TEST_CASE("on_all_ranks throws the error of the lowest failing rank on all ranks", "[mpi]") {
  const int last = mpi().size - 1;
  const auto error = [&](auto&& work) -> std::string {
    try {
      on_all_ranks(MPI_COMM_WORLD, work);
    } catch (const std::runtime_error& e) {
      return e.what();
    }
    return "no error";
  };
  const std::string prefix = last == 0 ? "" : "rank " + std::to_string(last) + ": ";
  CHECK(error([&] {
          if (mpi().rank == last) throw std::invalid_argument("this is wrong");
        }) == prefix + "this is wrong");
  CHECK(error([&] { throw std::runtime_error("wrong on " + std::to_string(mpi().rank)); }) == "wrong on 0");
  CHECK(error([] { throw std::bad_alloc(); }) == "out of memory");
  CHECK(error([] { throw 1; }) == "an exception that is not a std::exception");
  CHECK(error([] { throw std::runtime_error(""); }).empty());
  CHECK(error([] {}) == "no error");
}

TEMPLATE_TEST_CASE("gather_samples puts the samples of all ranks together in order", "[mpi]", LAYOUTS) {
  using Tensor = typename TestType::template Tensor<3>;
  const auto value = [](Index n, Index i, Index j) {
    return static_cast<typename TestType::Scalar>(100 * n + 10 * i + j);
  };
  for (const Index count : {0, 1, 7}) {  // some ranks have no samples
    for (int root = 0; root < mpi().size; ++root) {
      const auto range = sample_range(count, mpi().rank, mpi().size);
      Tensor mine(range.size(), 2, 3);
      for (Index n = 0; n < range.size(); ++n) {
        for (Index i = 0; i < 2; ++i) {
          for (Index j = 0; j < 3; ++j) mine(n, i, j) = value(range.begin + n, i, j);
        }
      }
      const Tensor all = gather_samples(mine, MPI_COMM_WORLD, root);
      if (mpi().rank != root) {
        CHECK(all.dimension(0) == 0);
        continue;
      }
      REQUIRE(all.dimension(0) == count);
      Index wrong = 0;
      for (Index n = 0; n < count; ++n) {
        for (Index i = 0; i < 2; ++i) {
          for (Index j = 0; j < 3; ++j) wrong += all(n, i, j) != value(n, i, j);
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("gather_samples takes maps and tensors of rank 1", "[mpi]") {
  std::vector<float> memory{float(mpi().rank), float(mpi().rank) + 0.5F};
  const auto all = gather_samples(Eigen::TensorMap<Eigen::Tensor<float, 1>>(memory.data(), 2), MPI_COMM_WORLD);
  if (mpi().rank == 0) {
    REQUIRE(all.dimension(0) == 2 * mpi().size);
    CHECK(all(2 * mpi().size - 1) == float(mpi().size) - 0.5F);
  }
}

TEST_CASE("gather_samples refuses samples of different shapes on all ranks", "[mpi]") {
  if (mpi().size == 1) return;
  const Eigen::Tensor<float, 2> mine(1, mpi().rank == 1 ? 5 : 4);
  CHECK_THAT(error_message<std::invalid_argument>([&] { (void)gather_samples(mine, MPI_COMM_WORLD); }),
             ContainsSubstring("gather_samples: axis 1 of the samples has size 5 on rank 1, but 4 on rank 0"));
}

TEST_CASE("the ranks' parts must have fewer than 2^31 entries together", "[mpi]") {
  CHECK(diffusion::detail::offsets("f", {2, 0, 3}) == std::vector<int>{0, 2, 2, 5});
  CHECK_THAT(error_message([] {
               (void)diffusion::detail::offsets("f", {(std::int64_t(1) << 31) - 1, 1});
             }),
             ContainsSubstring("2^31"));
}

/// A batch of losses with timesteps, of which this rank takes the samples [begin, end).
TimestepLosses part_of_batch(Index step, Index begin, Index end) {
  TimestepLosses out{diffusion::Timesteps(end - begin), Eigen::Tensor<double, 1>(end - begin)};
  for (Index n = begin; n < end; ++n) {
    out.timesteps(n - begin) = (3 * n + step) % 4;
    out.losses(n - begin) = 0.1 + 0.37 * double(n) + 0.01 * double(step * step);
  }
  return out;
}

TEST_CASE("Resamplers that exchange losses by all_gather_losses equal that of a single process", "[mpi]") {
  diffusion::LossSecondMomentResampler alone(4, 3), together(4, 3);
  for (Index step = 0; step < 8; ++step) {
    const Index batch = step % 3 == 0 ? 1 : 5;  // with one sample, all ranks but the first have none
    const TimestepLosses all = part_of_batch(step, 0, batch);
    alone.update_with_all_losses(all.timesteps, all.losses);
    const auto range = sample_range(batch, mpi().rank, mpi().size);
    const TimestepLosses mine = part_of_batch(step, range.begin, range.end);
    together.update_with_local_losses(mine.timesteps, mine.losses, [](const TimestepLosses& losses) {
      return all_gather_losses(losses, MPI_COMM_WORLD);
    });
  }
  REQUIRE(alone.warmed_up());
  CHECK((alone.state().loss_history == together.state().loss_history).all());
  CHECK((alone.state().loss_counts == together.state().loss_counts).all());
  std::mt19937 engine(1), same_engine(1);
  const auto t = alone.sample(20, engine), same_t = together.sample(20, same_engine);
  for (Index n = 0; n < 20; ++n) CHECK(t.timesteps(n) == same_t.timesteps(n));
}

TEST_CASE("all_gather_losses refuses losses without timesteps on all ranks", "[mpi]") {
  TimestepLosses mine = part_of_batch(0, 0, 2);
  if (mpi().rank == mpi().size - 1) mine.timesteps.resize(1);
  CHECK_THAT(error_message([&] { (void)all_gather_losses(mine, MPI_COMM_WORLD); }),
             ContainsSubstring("different sizes on rank " + std::to_string(mpi().size - 1)));
}

TEST_CASE("A loss that is not finite on one rank is refused on all", "[mpi]") {
  diffusion::LossSecondMomentResampler sampler(4, 3);
  TimestepLosses mine = part_of_batch(0, 0, 2);
  if (mpi().rank == mpi().size - 1) mine.losses(1) = std::nan("");
  const auto gather = [](const TimestepLosses& losses) { return all_gather_losses(losses, MPI_COMM_WORLD); };
  CHECK_THROWS_AS(sampler.update_with_local_losses(mine.timesteps, mine.losses, gather), std::invalid_argument);
  CHECK((sampler.state().loss_counts == 0).all());
}

}  // namespace
