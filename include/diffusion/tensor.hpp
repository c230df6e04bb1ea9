/// @file tensor.hpp
/// The types that all operations share: the Eigen tensors they take and return, and timesteps.
#pragma once

/// @defgroup tensor Tensors and timesteps
/// The first axis of a tensor is the batch, in both layouts, and the rank is at least 1. A function
/// takes any Eigen::Tensor, TensorMap (also of const values), TensorFixedSize or expression. It
/// returns a plain Eigen::Tensor with the layout and index type of its input.

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval
#include <vector>

namespace diffusion {

/// Base class of Eigen's tensors and tensor expressions. A parameter that is documented as "tensor"
/// takes any type derived from it.
template <class X>
using TensorExpr = Eigen::TensorBase<X, Eigen::ReadOnlyAccessors>;

/// The operations by which samplers and denoisers work on a tensor type other than Eigen's.
/// Specialise it for your own type; interop/torch.hpp has it for torch::Tensor. Two functions are
/// required. Here they are for a molecule, which consists of two vectors:
///
/// @code{.cpp}
/// #include <diffusion/diffusion.hpp>
/// #include <array>
/// #include <vector>
///
/// struct Molecule {
///   std::vector<double> positions, charges;
/// };
///
/// template <>
/// struct diffusion::TensorOperations<Molecule> {
///   static std::array<std::size_t, 2> shape(const Molecule& x) {
///     return {x.positions.size(), x.charges.size()};
///   }
///   static void combine(Molecule& out, const LinearCombination<Molecule>& sum, const DeviceRef&) {
///     for (const auto part : {&Molecule::positions, &Molecule::charges}) {
///       for (std::size_t i = 0; i < (out.*part).size(); ++i) {
///         double value = 0;
///         for (const auto& [coefficient, x] : sum) value += coefficient * ((*x).*part)[i];
///         (out.*part)[i] = value;
///       }
///     }
///   }
/// };
///
/// int main() {
///   const diffusion::GaussianDiffusion<double> process(diffusion::cosine_beta_schedule(1000));
///   const auto grid = diffusion::timestep_grid(process, diffusion::TimestepSpacing::trailing, 10);
///   // Stands for a network that predicts x_0.
///   const auto network = [](const Molecule&, double) { return Molecule{{1, 2, 3}, {4}}; };
///   const diffusion::Denoiser denoiser(network, diffusion::ModelMeanType::start_x);
///   const Molecule x_T{{0.3, -1.2, 0.8}, {0.1}};
///   const Molecule x_0 = diffusion::sample(diffusion::DpmSolverPP{}, grid, denoiser, x_T);
///   return x_0.positions[2] == 3 && x_0.charges[0] == 4 ? 0 : 1;
/// }
/// @endcode
///
/// The required functions:
///
///   - `shape(x)`: returns the sizes of x as a `std::array` or `std::vector` of integers. Tensors
///     of equal sizes can be combined.
///   - `combine(out, sum, device)`: writes a linear combination. `out` has the shape of the terms
///     and may be one of them. Without terms, the result is 0. `device` is the Eigen device of the
///     run, which other tensors need not use.
///
/// A copy of a Tensor must keep its values when the original is written. If copies share memory, as
/// those of torch::Tensor do, the operations must write to new memory.
///
/// Some features need more functions. Each is needed only by what it names:
///
///   - `fill(z, noise)`: fills z by a noise source; without it noise(z) is called. PhiloxNoise and
///     the library's other sources fill Eigen tensors, so `fill` passes them an Eigen::TensorMap of
///     z's memory.
///   - `Times` and `set_times(times, x, t)`: the type of the model times that a Denoiser passes to
///     the model, and a function that writes t for each sample of x; without them the model is
///     called with t as a double.
///   - `clamp(x, low, high, device)`: limits the values of x; for DenoiserOptions::clip_min and
///     clip_max.
///   - `threshold(x, quantile, low, high, device)`: for DenoiserOptions::threshold_quantile.
///   - `first_channels(out, output)`: writes the first half of the channels; for
///     DenoiserOptions::learned_variance.
///   - `error_norm(error, memory, device)`: for DpmSolverAdaptive; see ErrorNorm.
///   - `paste(x, known, mask, alpha, sigma, noise, device)`: for RePaint.
template <class Tensor>
struct TensorOperations {
  using Unspecialised = void;  ///< Only the primary template has it.
};

namespace detail {

template <class X>
std::true_type derives_from_tensor_expr(const TensorExpr<X>*);
std::false_type derives_from_tensor_expr(const void*);

/// Whether X is an Eigen tensor or tensor expression.
template <class X>
inline constexpr bool is_tensor_v = decltype(derives_from_tensor_expr(static_cast<std::decay_t<X>*>(nullptr)))::value;

/// Whether X stores its values in memory and has data(): Tensor, TensorMap or TensorFixedSize.
template <class X>
inline constexpr bool is_stored_v = false;
template <class S, int Rank, int Options, class I>
inline constexpr bool is_stored_v<Eigen::Tensor<S, Rank, Options, I>> = true;
template <class S, class Sizes, int Options, class I>
inline constexpr bool is_stored_v<Eigen::TensorFixedSize<S, Sizes, Options, I>> = true;
template <class Plain, int Options, template <class> class Pointer>
inline constexpr bool is_stored_v<Eigen::TensorMap<Plain, Options, Pointer>> = true;

/// Whether X stores its values and they can be written.
template <class X, class = void>
inline constexpr bool is_writable_v = false;
template <class X>
inline constexpr bool
    is_writable_v<X, std::enable_if_t<is_stored_v<std::decay_t<X>> &&
                                      !std::is_const_v<std::remove_pointer_t<decltype(std::declval<X&>().data())>>>> =
        true;

/// Whether T is one of the library's scalar types.
template <class T>
inline constexpr bool is_scalar_v =
    std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, long double> ||
    std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>;

/// Type in which values of type Scalar are computed: float for half and bfloat16, otherwise Scalar.
template <class Scalar>
using Arithmetic =
    std::conditional_t<std::is_same_v<Scalar, Eigen::half> || std::is_same_v<Scalar, Eigen::bfloat16>, float, Scalar>;

/// Whether TensorOperations is specialised for X, and X is not one of Eigen's tensors.
template <class X, class = void>
inline constexpr bool is_adapted_v = !is_tensor_v<X>;
template <class X>
inline constexpr bool is_adapted_v<X, std::void_t<typename TensorOperations<X>::Unspecialised>> = false;

/// Scalar type, rank, layout and plain tensor type of X.
template <class X, bool = is_tensor_v<X>>
struct TensorTraits {
  using Expr = Eigen::internal::traits<X>;
  using Scalar = std::remove_const_t<typename Expr::Scalar>;
  static constexpr int rank = Expr::NumDimensions;
  static constexpr int layout = Expr::Layout;
  using Plain = Eigen::Tensor<Scalar, rank, layout, typename Expr::Index>;
};

/// A type with TensorOperations is its own plain type. Every other type is rejected with one
/// readable static_assert. The placeholder members prevent follow-up errors.
template <class X>
struct TensorTraits<X, false> {
  static_assert(is_adapted_v<X>,
                "diffusion: this argument must be an Eigen tensor: an Eigen::Tensor, TensorMap, TensorFixedSize or an "
                "expression of them; Denoiser, sample and add_noise also take a type with diffusion::TensorOperations");
  using Scalar = float;
  static constexpr int rank = 1;
  static constexpr int layout = Eigen::ColMajor;
  using Plain = std::conditional_t<is_adapted_v<X>, X, Eigen::Tensor<Scalar, rank, layout>>;
};

/// TensorTraits of X without const and reference.
template <class X>
using Traits = TensorTraits<std::decay_t<X>>;

}  // namespace detail

/// Plain tensor type that an operation on X returns. It has X's scalar type, rank, layout and index
/// type. For a type with TensorOperations it is X itself.
template <class X>
using PlainTensor = typename detail::Traits<X>::Plain;

/// One timestep t per sample of a batch, 0 <= t < T, where T is the number of timesteps of the
/// process. At t = 0 a sample has one step of noise, at t = T - 1 it has all T steps.
using Timesteps = Eigen::Tensor<Eigen::Index, 1>;

/// Non-owning view of a batch's timesteps: one per sample, or one for the whole batch. It converts
/// implicitly from Timesteps, a map of them, a `std::vector<Eigen::Index>` or an integer. It must
/// not outlive its source.
class TimestepsView {
 public:
  /// One timestep for the whole batch.
  template <class Integer, std::enable_if_t<std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>, int> = 0>
  TimestepsView(Integer t) : value_(static_cast<Eigen::Index>(t)), size_(-1) {}

  /// One timestep per sample, from a Timesteps, a map of it, or another stored tensor of rank 1
  /// with scalar type Eigen::Index.
  template <class X, std::enable_if_t<detail::is_stored_v<X>, int> = 0>
  TimestepsView(const X& t)
      : data_(entries_of<typename detail::Traits<X>::Scalar, detail::Traits<X>::rank>(t)),
        size_(static_cast<Eigen::Index>(t.size())) {}

  /// One timestep per sample, from a `std::vector<Eigen::Index>`.
  template <class Integer>
  TimestepsView(const std::vector<Integer>& t)
      : data_(entries_of<Integer, 1>(t)), size_(static_cast<Eigen::Index>(t.size())) {}

  /// @private Rejects a braced list such as {10, 900} with one readable static_assert, because the
  /// view would outlive the list.
  template <class First, class Second, class... More>
  TimestepsView(const First&, const Second&, const More&...) : value_(0), size_(-1) {
    static_assert(!std::is_same_v<First, First>,
                  "diffusion: pass a list of timesteps as a std::vector<Eigen::Index>, for example "
                  "std::vector<Eigen::Index>{10, 900}, or as an Eigen::Tensor<Eigen::Index, 1> (diffusion::Timesteps)");
  }

  /// @private Rejects every other type with one readable static_assert.
  template <class Other,
            std::enable_if_t<(!std::is_integral_v<Other> || std::is_same_v<Other, bool>)&&!detail::is_stored_v<Other>,
                             int> = 0>
  TimestepsView(const Other& t) : data_(entries_of<Other, 0>(t)), size_(0) {}

  /// Whether one timestep applies to the whole batch.
  bool uniform() const { return size_ < 0; }
  /// Number of entries. Meaningful only if uniform() is false.
  Eigen::Index size() const { return size_; }
  /// Timestep of sample n.
  Eigen::Index operator[](Eigen::Index n) const { return uniform() ? value_ : data_[n]; }
  /// The entries, one per sample. Call this only if uniform() is false.
  const Eigen::Index* entries() const { return data_; }

 private:
  template <class Scalar, int rank, class X>
  static const Eigen::Index* entries_of(const X& t) {
    constexpr bool right = std::is_same_v<Scalar, Eigen::Index> && rank == 1;
    static_assert(right,
                  "diffusion: timesteps must be an Eigen::Tensor<Eigen::Index, 1> (diffusion::Timesteps), a "
                  "std::vector<Eigen::Index>, or one integer for the whole batch");
    if constexpr (right) {
      return t.data();
    } else {
      return nullptr;
    }
  }

  // Two words, so that a view is passed in registers.
  union {
    const Eigen::Index* data_;
    Eigen::Index value_;  // for the whole batch, if size_ is -1
  };
  Eigen::Index size_;  // number of entries in data_, or -1
};

}  // namespace diffusion
