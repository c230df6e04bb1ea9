/// @file image.hpp
/// Image input and output for the examples: reads PNG and JPEG files into Eigen tensors, arranges
/// images with captions, and writes PNG files. It uses the stb libraries (image.cpp). Functions
/// throw std::runtime_error on failure.
#pragma once

#include <cstddef>  // std::size_t
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

namespace example {

using Eigen::Index;

/// A batch of images [N, H, W, C], with C = 3 (red, green, blue) or C = 1 (grey). Values run from
/// -1 (dark) to 1 (bright), the range that diffusion models are trained on.
using Images = Eigen::Tensor<float, 4, Eigen::RowMajor>;

/// Reads a PNG or JPEG file as one image, [1, H, W, 3]. A grey image gets three equal channels. A
/// transparent image is blended with white. At most 2^28 bytes and 2^25 pixels are read.
Images read_image(const std::string& path);

/// Shrinks images by the smallest integer factor k for which both sides are at most `side`. Each
/// pixel is the mean of a block of k x k pixels. Rows and columns that are left over at the lower
/// and right edges are dropped.
Images shrunk(const Images& images, Index side);

/// A colour of 8 bits per channel.
struct Colour {
  unsigned char red, green, blue;
};
static_assert(sizeof(Colour) == 3, "stb reads pixels as bytes, so a Colour must have 3 bytes without padding");

/// A picture to draw on. Coordinates are in pixels from the upper left corner; anything outside is
/// clipped.
class Canvas {
 public:
  /// A canvas filled with the colour `ground`. Throws std::runtime_error if it has no pixels or too
  /// many.
  Canvas(Index width, Index height, Colour ground);

  Index width() const { return width_; }
  Index height() const { return height_; }

  /// Fills a rectangle.
  void rectangle(Index x, Index y, Index width, Index height, Colour colour);

  /// Draws image n of a batch; each of its pixels is `scale` pixels wide and high. Values are
  /// clipped to [-1, 1].
  void image(Index x, Index y, const Images& images, Index n, Index scale = 1);

  /// Draws a line of ASCII text with its upper left corner at (x, y).
  void text(Index x, Index y, const std::string& line, Colour colour, Index scale = 2);
  /// Width and height of a line of text, in pixels.
  static Index text_width(const std::string& line, Index scale = 2);
  static Index text_height(Index scale = 2) { return 8 * scale; }

  /// Writes the picture to a PNG file.
  void write_png(const std::string& path) const;

 private:
  Index width_, height_;
  std::vector<Colour> pixels_;
};

/// One row of a film strip: its name, a batch of images, and captions for the images. All rows have
/// images of one size; captions may be missing.
struct FilmRow {
  std::string name;
  Images frames;
  std::vector<std::string> captions;
};

/// Draws images in rows and columns, with the names of the rows at the left, those of the columns
/// at the top, and captions below the images. Images smaller than `frame_side` are enlarged by the
/// largest integer factor for which they still fit.
Canvas film_strip(const std::vector<std::string>& columns, const std::vector<FilmRow>& rows, Index frame_side);

}  // namespace example
