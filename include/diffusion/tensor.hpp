/// @file tensor.hpp
/// The vocabulary of the library: which Eigen tensors go in, which come out, and timesteps.
///
/// The first axis of a tensor is the batch, in both layouts; its rank is at least 1. A function takes any
/// Eigen::Tensor, TensorMap (also of const), TensorFixedSize or expression, and returns plain Eigen::Tensors with the
/// layout and index type of its input.
#pragma once

#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::declval
#include <vector>

namespace diffusion {

/// Base class of all that Eigen reads as a tensor: what a parameter documented as "tensor" may be.
template <class X>
using TensorExpr = Eigen::TensorBase<X, Eigen::ReadOnlyAccessors>;

namespace detail {

template <class X>
std::true_type derives_from_tensor_expr(const TensorExpr<X>*);
std::false_type derives_from_tensor_expr(const void*);

template <class X>
inline constexpr bool is_tensor_v = decltype(derives_from_tensor_expr(static_cast<std::decay_t<X>*>(nullptr)))::value;

/// Whether X keeps its values in memory (Tensor, TensorMap, TensorFixedSize), so that data() is there to read.
template <class X>
inline constexpr bool is_stored_v = false;
template <class S, int Rank, int Options, class I>
inline constexpr bool is_stored_v<Eigen::Tensor<S, Rank, Options, I>> = true;
template <class S, class Sizes, int Options, class I>
inline constexpr bool is_stored_v<Eigen::TensorFixedSize<S, Sizes, Options, I>> = true;
template <class Plain, int Options, template <class> class Pointer>
inline constexpr bool is_stored_v<Eigen::TensorMap<Plain, Options, Pointer>> = true;

/// Whether its values can be written there too.
template <class X, class = void>
inline constexpr bool is_writable_v = false;
template <class X>
inline constexpr bool
    is_writable_v<X, std::enable_if_t<is_stored_v<std::decay_t<X>> &&
                                      !std::is_const_v<std::remove_pointer_t<decltype(std::declval<X&>().data())>>>> =
        true;

/// The scalar types of the library.
template <class T>
inline constexpr bool is_scalar_v =
    std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, long double> ||
    std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>;

/// The type in which elements of a Scalar are computed: at least float.
template <class Scalar>
using Arithmetic =
    std::conditional_t<std::is_same_v<Scalar, Eigen::half> || std::is_same_v<Scalar, Eigen::bfloat16>, float, Scalar>;

template <class X, bool = is_tensor_v<X>>
struct TensorTraits {
  using Expr = Eigen::internal::traits<X>;
  using Scalar = std::remove_const_t<typename Expr::Scalar>;
  static constexpr int rank = Expr::NumDimensions;
  static constexpr int layout = Expr::Layout;
  using Plain = Eigen::Tensor<Scalar, rank, layout, typename Expr::Index>;
};

template <class X>
struct TensorTraits<X, false> {
  static_assert(is_tensor_v<X>,
                "diffusion: this argument must be an Eigen tensor: an Eigen::Tensor, TensorMap, TensorFixedSize or an "
                "expression of them");
  using Scalar = float;
  static constexpr int rank = 1;
  static constexpr int layout = Eigen::ColMajor;
  using Plain = Eigen::Tensor<Scalar, rank, layout>;
};

template <class X>
using Traits = TensorTraits<std::decay_t<X>>;

}  // namespace detail

/// The plain tensor an operation on X returns: X's scalar type, rank, layout and index type.
template <class X>
using PlainTensor = typename detail::Traits<X>::Plain;

/// One timestep per sample of a batch, each in [0, T): t = 0 is one step of noise, t = T - 1 the most.
using Timesteps = Eigen::Tensor<Eigen::Index, 1>;

/// Non-owning view of a batch's timesteps: one per sample, or one for the whole batch. Converts
/// implicitly from Timesteps, a map of them, a std::vector<Eigen::Index> or an integer. It must not
/// outlive its source.
class TimestepsView {
 public:
  template <class Integer, std::enable_if_t<std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>, int> = 0>
  TimestepsView(Integer t) : value_(static_cast<Eigen::Index>(t)), size_(-1) {}

  template <class X, std::enable_if_t<detail::is_stored_v<X>, int> = 0>
  TimestepsView(const X& t)
      : data_(entries_of<typename detail::Traits<X>::Scalar, detail::Traits<X>::rank>(t)),
        size_(static_cast<Eigen::Index>(t.size())) {}

  template <class Integer>
  TimestepsView(const std::vector<Integer>& t)
      : data_(entries_of<Integer, 1>(t)), size_(static_cast<Eigen::Index>(t.size())) {}

  /// Rejects a list in braces, {10, 900}, which would refer to numbers that are gone, with one readable static_assert.
  template <class First, class Second, class... More>
  TimestepsView(const First&, const Second&, const More&...) : value_(0), size_(-1) {
    static_assert(!std::is_same_v<First, First>,
                  "diffusion: a list of timesteps must be kept in a std::vector<Eigen::Index> or an "
                  "Eigen::Tensor<Eigen::Index, 1> (diffusion::Timesteps): std::vector<Eigen::Index>{10, 900}");
  }

  /// Rejects every other type with one readable static_assert.
  template <class Other,
            std::enable_if_t<(!std::is_integral_v<Other> || std::is_same_v<Other, bool>)&&!detail::is_stored_v<Other>,
                             int> = 0>
  TimestepsView(const Other& t) : data_(entries_of<Other, 0>(t)), size_(0) {}

  /// Whether one timestep stands for every sample.
  bool uniform() const { return size_ < 0; }
  /// The number of entries; of no meaning when uniform().
  Eigen::Index size() const { return size_; }
  /// The timestep of sample n.
  Eigen::Index operator[](Eigen::Index n) const { return uniform() ? value_ : data_[n]; }
  /// The entries, one per sample; not to be called when uniform().
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

  // Two words, so that it travels in registers.
  union {
    const Eigen::Index* data_;
    Eigen::Index value_;  // for all samples, when size_ is -1
  };
  Eigen::Index size_;  // of data_
};

}  // namespace diffusion
