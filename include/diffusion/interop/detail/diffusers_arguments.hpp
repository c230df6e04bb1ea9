/// @file diffusers_arguments.hpp
/// Arguments of a function of diffusers, read from JSON.
#pragma once

#include <Eigen/Core>
#include <array>
#include <cmath>  // std::abs, std::floor, std::isfinite
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>  // std::invalid_argument
#include <string>
#include <string_view>
#include <utility>  // std::move
#include <vector>

#include "../../detail/error.hpp"
#include "name_lookup.hpp"

namespace diffusion {
namespace detail {

/// The beginning of a list of names, for a message.
inline std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out.empty() ? "none" : out;
}

/// A JSON value, for a message. Lists and objects, which may be long or deeply nested, are named by
/// their type.
inline std::string shown(const nlohmann::json& value) {
  if (value.is_string()) return in_quotes(value.get_ref<const std::string&>());
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  return value.is_number() ? text(value.get<double>()) : std::string("a value of type ") + value.type_name();
}

/// Named arguments: the values that are given, and the defaults of the others. A default also
/// determines the type: a flag, a whole number, a number, text or a list of numbers. An argument
/// whose default is null may be left out; its type depends on its name (see checked()). Values are
/// checked and copied once, so that nothing depends on the size or the depth of other JSON.
class DiffusersArguments {
 public:
  /// Reads `given`, an object, for a function with these defaults. Keys that start with an
  /// underscore are skipped, and unknown keys go to `unknown`. Throws std::invalid_argument, with
  /// `where` as the function, for a value of a wrong type, and for an unknown key if unknown is
  /// null. `function` names the function of diffusers in messages.
  DiffusersArguments(const char* where, std::string function, const nlohmann::json& defaults,
                     const nlohmann::json& given, std::vector<std::string>* unknown = nullptr)
      : where_(where), function_(std::move(function)), values_(defaults) {
    if (given.is_null()) return;
    if (!given.is_object()) refuse("the arguments must be a JSON object, not ", shown(given));
    for (const auto& [key, value] : given.items()) {
      if (key.rfind('_', 0) == 0) continue;
      if (!values_.contains(key)) {
        if (!unknown) refuse_unknown(key);
        unknown->push_back(key.substr(0, 64));
        continue;
      }
      values_[key] = checked(key, defaults.at(key), value);
    }
  }

  /// The function of diffusers, for messages.
  const std::string& function() const { return function_; }
  /// Whether the function has this argument.
  bool has(const char* key) const { return values_.contains(key); }
  /// Whether the argument exists and has a value.
  bool given(const char* key) const { return has(key) && !values_.at(key).is_null(); }

  /// The value of a flag; false if the function has no such argument.
  bool flag(const char* key) const { return given(key) && values_.at(key).get<bool>(); }
  /// The value of a number; `otherwise` if there is none.
  double number(const char* key, double otherwise = 0.0) const {
    return given(key) ? values_.at(key).get<double>() : otherwise;
  }
  /// The value of a whole number; `otherwise` if there is none.
  Eigen::Index integer(const char* key, Eigen::Index otherwise = 0) const {
    return given(key) ? static_cast<Eigen::Index>(values_.at(key).get<double>()) : otherwise;
  }
  /// The value of a text; `otherwise` if there is none.
  std::string text(const char* key, const char* otherwise = "") const {
    return given(key) ? values_.at(key).get<std::string>() : otherwise;
  }
  /// The values of a list; empty if there is none.
  std::vector<double> list(const char* key) const {
    return given(key) ? values_.at(key).get<std::vector<double>>() : std::vector<double>();
  }

  /// Throws std::invalid_argument unless the text is one of `choices`, or there is none.
  void check_choice(const char* key, const std::vector<std::string>& choices) const {
    if (!given(key)) return;
    for (const std::string& choice : choices) {
      if (text(key) == choice) return;
    }
    refuse(key, " = ", in_quotes(text(key)), " is not supported; it must be one of ", listed(choices));
  }
  /// Throws std::invalid_argument unless low <= number <= high, or there is none.
  void check_range(const char* key, double low, double high) const {
    if (given(key) && !(number(key) >= low && number(key) <= high)) {
      refuse(key, " = ", number(key), " is outside [", low, ", ", high, "]");
    }
  }
  /// Throws std::invalid_argument unless 1 <= whole number <= most, or there is none.
  void check_count(const char* key, Eigen::Index most) const {
    if (given(key) && !(integer(key) >= 1 && integer(key) <= most)) {
      refuse(key, " = ", integer(key), " is outside [1, ", most, "]");
    }
  }
  /// Throws std::invalid_argument unless each of these numbers is positive, or there is none.
  void check_positive(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) {
      if (given(key) && !(number(key) > 0.0)) refuse(key, " = ", number(key), " must be positive");
    }
  }

  /// The number of flags that replace the sigmas of timesteps by others; see spread_sigmas of
  /// DiffusersLevels.
  int spreads() const {
    int flags = 0;
    for (const char* key : {"use_karras_sigmas", "use_lu_lambdas", "use_exponential_sigmas", "use_beta_sigmas"}) {
      flags += flag(key) ? 1 : 0;
    }
    return flags;
  }

  /// Throws std::invalid_argument with this message.
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail<std::invalid_argument>(where_, function_, ": ", parts...);
  }

 private:
  /// Returns the value of one argument after checking its type.
  nlohmann::json checked(const std::string& key, const nlohmann::json& standard, const nlohmann::json& value) const {
    constexpr std::array flags = {"set_alpha_to_zero", "predict_epsilon"};
    constexpr std::array texts = {"variance_type"};
    constexpr std::array lists = {"trained_betas", "timesteps", "sigmas", "scale_factors"};
    constexpr std::array may_be_null = {"base_shift", "max_shift"};
    const auto is_one_of = [&key](const auto& keys) {
      for (const std::string_view other : keys) {
        if (other == key) return true;
      }
      return false;
    };
    const bool optional = standard.is_null();
    if (value.is_null() && optional) return nullptr;
    if (value.is_null() && standard.is_boolean()) return false;
    if (value.is_null() && is_one_of(may_be_null)) return standard;
    if (standard.is_boolean() || (optional && is_one_of(flags))) {
      if (!value.is_boolean()) refuse(key, " must be true or false, not ", shown(value));
      return value;
    }
    if (standard.is_string() || (optional && is_one_of(texts))) {
      if (!value.is_string()) refuse(key, " must be a string, not ", shown(value));
      return value;
    }
    if (standard.is_array() || (optional && is_one_of(lists))) return checked_list(key, value);
    return checked_number(key, standard, value);
  }

  nlohmann::json checked_number(const std::string& key, const nlohmann::json& standard,
                                const nlohmann::json& value) const {
    if (key == "solver_p") refuse(key, " is not supported: its value is another scheduler");
    const double infinity = std::numeric_limits<double>::infinity();
    if (key == "lambda_min_clipped" && (value == "-Infinity" || value == -infinity)) return nullptr;  // its default
    if (key == "s_tmax" && (value == "Infinity" || value == infinity)) return nullptr;
    const bool whole = standard.is_number_integer() || key == "num_train_timesteps" ||
                       key == "original_inference_steps" || key == "image_seq_len";
    if (!value.is_number()) refuse(key, " must be a number, not ", shown(value));
    const double number = value.get<double>();
    if (!std::isfinite(number)) refuse(key, " = ", number, " is not finite");
    if (whole && !(std::floor(number) == number && std::abs(number) <= 1e9)) {
      refuse(key, " = ", number, " must be a whole number between -10^9 and 10^9");
    }
    return number;
  }

  nlohmann::json checked_list(const std::string& key, const nlohmann::json& value) const {
    if (!value.is_array()) refuse(key, " must be a list of numbers, not ", shown(value));
    if (value.size() > 1000000) refuse(key, " has more than 10^6 entries");
    std::vector<double> numbers;
    for (const nlohmann::json& entry : value) {
      const auto at = static_cast<Eigen::Index>(numbers.size());
      if (!entry.is_number()) refuse(key, "[", at, "] must be a number, not ", shown(entry));
      numbers.push_back(entry.get<double>());
      if (!std::isfinite(numbers.back())) refuse(key, "[", at, "] = ", numbers.back(), " is not finite");
    }
    return numbers;
  }

  /// Says that a function of diffusers has no such argument, or that it has one without support.
  [[noreturn]] void refuse_unknown(const std::string& key) const {
    constexpr std::array unsupported = {"jump_length",          "jump_n_sample",       "variance_noise", "generator",
                                        "pred_original_sample", "per_token_timesteps", "prev_timestep",  "device"};
    for (const std::string_view other : unsupported) {
      if (key == other) refuse(key, " is not supported");
    }
    refuse("there is no argument ", in_quotes(key), "; its arguments are ", listed(names()));
  }

  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : values_.items()) out.push_back(entry.key());
    return out;
  }

  const char* where_;
  std::string function_;
  nlohmann::json values_;
};

}  // namespace detail
}  // namespace diffusion
