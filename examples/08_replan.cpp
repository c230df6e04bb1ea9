/// @file 08_replan.cpp
/// How does a robot make a new plan from its last one, without allocating memory?
#include <cstdio>
#include <diffusion/diffusion.hpp>

int main() {
  using Plan = Eigen::Tensor<float, 3>;  // [1, waypoints, joints]
  const diffusion::GaussianDiffusion<float> process(diffusion::cosine_beta_schedule(100));
  const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 8);
  const auto last_steps = grid.with_strength(0.5);  // a new plan starts from the last one, with noise

  // Stands for a policy: a straight way from 0 to the goal.
  const auto policy = [](const Plan&, float goal, Plan& x_0) {
    for (int i = 0; i < 16; ++i) x_0(0, i, 0) = goal * float(i) / 15;
  };
  const diffusion::Denoiser denoiser(nullptr, diffusion::ModelMeanType::start_x);
  diffusion::PhiloxNoise noise(1);
  Plan plan(1, 16, 1), x(1, 16, 1), output(1, 16, 1);
  plan.setZero();
  x.setZero();
  diffusion::SamplingRun run(diffusion::DpmSolverPP{}, last_steps, x, noise);
  diffusion::Prediction<Plan> prediction;
  for (const float goal : {0.2f, 0.4f, 0.6f}) {  // the goal moves
    diffusion::add_noise_into(x, plan, last_steps.levels().front(), noise);
    run.restart(x);
    while (!run.done()) {
      policy(run.x(), goal, output);
      denoiser.prediction(output, run.x(), run.level(), prediction);
      run.advance(prediction);
    }
    plan = run.x();
    std::printf("goal %.1f: %d calls, last waypoint %.2f\n", double(goal), int(last_steps.num_steps()),
                double(plan(0, 15, 0)));
  }
}

// Output:
// goal 0.2: 4 calls, last waypoint 0.20
// goal 0.4: 4 calls, last waypoint 0.40
// goal 0.6: 4 calls, last waypoint 0.60
