/// @file plot.hpp
/// Charts for the examples, drawn by gnuplot as PNG files: curves on logarithmic axes, paths over
/// time and clouds of points. The macro GNUPLOT is the path of the program, which CMake finds.
/// Functions throw std::runtime_error on failure.
#pragma once

#include <algorithm>  // std::equal, std::find_if, std::max, std::min, std::none_of, std::stable_sort
#include <cerrno>
#include <cmath>    // std::abs, std::isfinite, std::isnan, std::lround
#include <cstddef>  // std::size_t
#include <cstdio>   // popen
#include <cstring>  // std::strerror
#include <fstream>
#include <iterator>  // std::size
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>  // std::pair
#include <vector>

namespace example {

/// Points of a chart, joined by a line. Points whose y is not finite are left out.
struct Curve {
  std::string name;
  std::vector<double> x, y;
  std::vector<std::string> twins = {};  // names of equal curves, set by distinct()
};

/// Curves that share axes. If `chance` is not {0, 0}, the band between its two values is shaded and
/// named chance_name.
struct CurvePanel {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
  double chance[2] = {0.0, 0.0};
  std::string chance_name = {};
};

/// A cloud of points [N, 2] with a title.
struct PointPanel {
  std::string title;
  Eigen::Tensor<double, 2, Eigen::RowMajor> points;
};

/// Paths over time, each with a title: what was done, what was planned at several times, and the
/// goal.
struct PathPanel {
  std::string title;
  std::vector<double> done, goal;                             // at the times 0, 1, 2, ...
  std::vector<std::pair<double, std::vector<double>>> plans;  // each with the time of its first value
};

/// The colours of a chart: dark like the film strips, or light for print.
struct Theme {
  const char *ground, *text, *grid, *fine_grid, *band;
  std::vector<const char*> colours;  // of curves; all differ
};
/// The names of the themes; the first is the default.
inline const std::vector<std::string> theme_names = {"dark", "light"};
/// Returns the theme of this name.
inline Theme theme(const std::string& name) {
  if (name == "light") {
    return {"#ffffff",
            "#202020",
            "#c4c4c4",
            "#e6e6e6",
            "#dddddd",
            {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#222222",
             "#a8a400", "#0b3d91", "#7f7f7f"}};
  }
  return {"#181a1f",
          "#e6e6e6",
          "#4a4e58",
          "#2a2d34",
          "#3a3e48",
          {"#5ab4ff", "#ff6b6b", "#5fd068", "#c29bff", "#ffa94d", "#3fe0e8", "#d6a184", "#ff9be0", "#ffffff", "#e6e04a",
           "#7d8cff", "#a7adba"}};
}

/// `text` as a quoted string of gnuplot.
inline std::string in_quotes(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

/// Runs gnuplot on a script, and writes what it draws to the PNG file `path`.
inline void draw_png(const std::string& path, int width, int height, const Theme& theme, const std::string& script) {
  if (!std::ofstream(path)) throw std::runtime_error("cannot open " + path + " for writing: " + std::strerror(errno));
  std::FILE* gnuplot = popen("'" GNUPLOT "' -", "w");
  if (!gnuplot) throw std::runtime_error(std::string("cannot run " GNUPLOT ": ") + std::strerror(errno));
  std::ostringstream head;
  head << "set terminal pngcairo noenhanced background '" << theme.ground << "' size " << width << "," << height
       << " font ',11'\nset output " << in_quotes(path) << "\nset border lc rgb '" << theme.text
       << "'\nset tics textcolor rgb '" << theme.text << "'\nset key textcolor rgb '" << theme.text << "'\n";
  for (const char* what : {"title", "xlabel", "ylabel"}) {
    head << "set " << what << " textcolor rgb '" << theme.text << "'\n";
  }
  std::fputs((head.str() + script).c_str(), gnuplot);
  if (pclose(gnuplot) != 0) throw std::runtime_error(GNUPLOT " could not draw " + path);
}

/// Returns the curves that have points. A curve that agrees with an earlier one to 1 % is dropped;
/// its name is added to the twins of that one.
inline std::vector<Curve> distinct(const std::vector<Curve>& curves) {
  const auto same = [](double a, double b) { return std::abs(a - b) <= 0.01 * b || (std::isnan(a) && std::isnan(b)); };
  std::vector<Curve> out;
  for (const Curve& curve : curves) {
    if (std::none_of(curve.y.begin(), curve.y.end(), [](double y) { return std::isfinite(y); })) continue;
    const auto twin = std::find_if(out.begin(), out.end(), [&](const Curve& other) {
      return std::equal(curve.y.begin(), curve.y.end(), other.y.begin(), other.y.end(), same);
    });
    if (twin == out.end()) {
      out.push_back(curve);
    } else {
      twin->twins.push_back(curve.name);
    }
  }
  return out;
}

/// Draws the panels one above the other, with logarithmic axes. Each legend lists the curves in the
/// order of their last values. Each curve of a panel has a colour and a marker of its own, for up
/// to twelve curves.
inline void plot_curves(const std::string& path, std::vector<CurvePanel> panels, const Theme& theme) {
  const int markers[] = {7, 5, 9, 13, 11, 6, 4, 8, 12, 10, 2, 3};
  std::ostringstream script;
  script << "set multiplot layout " << panels.size() << ",1\nset termoption enhanced\n"
         << "set logscale xy\nset format y '10^{%T}'\nset mytics 10\nset tics nomirror\nset border 3\n"
         << "set grid xtics ytics mytics lt 1 lc rgb '" << theme.grid << "' lw 1, lt 1 lc rgb '" << theme.fine_grid
         << "' lw 1\n"
         << "set key at graph 1.02, graph 1 left top Left reverse samplen 3 noenhanced\nset rmargin 42\n";
  for (CurvePanel& panel : panels) {
    panel.curves = distinct(panel.curves);
    const auto end = [](const Curve& curve) { return std::isfinite(curve.y.back()) ? curve.y.back() : 0.0; };
    std::stable_sort(panel.curves.begin(), panel.curves.end(),
                     [&](const Curve& a, const Curve& b) { return end(a) > end(b); });
    std::string plots, ticks;
    double lowest = std::numeric_limits<double>::infinity(), highest = 0.0;
    if (panel.chance[1] > 0.0) {
      script << "low = " << panel.chance[0] << "\nhigh = " << panel.chance[1] << "\n";
      plots = std::string("'+' using 1:(low):(high) with filledcurves fc rgb '") + theme.band + "' title " +
              in_quotes(panel.chance_name) + ", ";
      lowest = panel.chance[0];
    }
    for (std::size_t c = 0; c < panel.curves.size(); ++c) {
      const Curve& curve = panel.curves[c];
      const std::string block = "$curve_" + std::to_string(c);
      script << block << " << EOD\n";
      for (std::size_t i = 0; i < curve.x.size(); ++i) {
        if (!std::isfinite(curve.y[i])) continue;
        script << curve.x[i] << ' ' << curve.y[i] << '\n';
        lowest = (std::min)(lowest, curve.y[i]), highest = (std::max)(highest, curve.y[i]);
      }
      script << "EOD\n";
      plots += block + " with linespoints lw 1.8 ps 1.2 lc rgb '" + theme.colours[c % theme.colours.size()] + "' pt " +
               std::to_string(markers[c % std::size(markers)]) + " title " + in_quotes(curve.name) + ", ";
      for (const auto& twin : curve.twins) {
        plots += std::string("NaN lc rgb '") + theme.ground + "' title " + in_quotes("    = " + twin) + ", ";
      }
    }
    const std::vector<double>& x = panel.curves.at(0).x;
    for (const double tick : x) ticks += (ticks.empty() ? "" : ", ") + std::to_string(std::lround(tick));
    script << "set title " << in_quotes(panel.title) << " noenhanced\nset xlabel " << in_quotes(panel.x_label)
           << "\nset ylabel " << in_quotes(panel.y_label) << " noenhanced\nset xtics (" << ticks << ")\nset xrange ["
           << 0.9 * x.front() << ":" << 1.1 * x.back() << "]\nset yrange [" << lowest / 1.3 << ":" << highest * 1.3
           << "]\nplot " << plots.substr(0, plots.size() - 2) << "\n";
  }
  script << "unset multiplot\n";
  draw_png(path, 1200, 480 * static_cast<int>(panels.size()), theme, script.str());
}

/// Draws the panels in two columns, with values from -1 to 1.
inline void plot_paths(const std::string& path, const std::vector<PathPanel>& panels, const std::string& x_label,
                       const Theme& theme) {
  const int rows = (static_cast<int>(panels.size()) + 1) / 2;
  std::ostringstream script;
  script << "set multiplot layout " << rows
         << ",2\nset tics nomirror\nset border 3\nset yrange [-1.05:1.05]\nset ytics 0.5\n"
         << "set grid lt 1 lc rgb '" << theme.fine_grid << "'\nset key at graph 1, graph 1.12 horizontal\nset xlabel "
         << in_quotes(x_label) << "\n";
  const auto block = [&](const char* name, double first, const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) script << first + double(i) << ' ' << values[i] << '\n';
    script << name;
  };
  for (std::size_t p = 0; p < panels.size(); ++p) {
    const PathPanel& panel = panels[p];
    script << "$goal << EOD\n";
    block("EOD\n$plans << EOD\n", 0.0, panel.goal);
    for (const auto& [time, plan] : panel.plans) block("\n", time, plan);
    script << "EOD\n$done << EOD\n";
    block("EOD\n", 0.0, panel.done);
    script << "set title " << in_quotes(panel.title) << " offset -30,0\nset xrange [0:" << panel.done.size()
           << "]\nplot $goal with steps lw 2 lc rgb '" << theme.text
           << "' title 'goal', $plans with lines lw 1 lc rgb '" << theme.colours[4]
           << "' title 'plans', $done with lines lw 2.5 lc rgb '" << theme.colours[0] << "' title 'motion'\n";
  }
  script << "unset multiplot\n";
  draw_png(path, 1200, 260 * rows, theme, script.str());
}

/// Draws the panels in rows of `columns`; all axes run from -limit to limit.
inline void plot_points(const std::string& path, const std::vector<PointPanel>& panels, int columns, double limit,
                        const Theme& theme) {
  const int rows = (static_cast<int>(panels.size()) + columns - 1) / columns;
  std::ostringstream script;
  script << "set multiplot layout " << rows << "," << columns << "\nset size ratio -1\nunset key\n"
         << "set xrange [" << -limit << ":" << limit << "]\nset yrange [" << -limit << ":" << limit << "]\n"
         << "set xtics 1\nset ytics 1\nset grid lt 1 lc rgb '" << theme.fine_grid << "'\n";
  for (const PointPanel& panel : panels) {
    script << "$points << EOD\n";
    for (Eigen::Index n = 0; n < panel.points.dimension(0); ++n) {
      script << panel.points(n, 0) << ' ' << panel.points(n, 1) << '\n';
    }
    script << "EOD\nset title " << in_quotes(panel.title) << "\nplot $points with points pt 7 ps 0.25 lc rgb '"
           << theme.colours[0] << "'\n";
  }
  script << "unset multiplot\n";
  draw_png(path, 400 * columns, 420 * rows, theme, script.str());
}

}  // namespace example
