#include "image.hpp"

#include <algorithm>  // std::max, std::min
#include <cerrno>
#include <cmath>    // std::lround
#include <cstdio>   // std::fopen
#include <cstdlib>  // std::free, std::realloc
#include <cstring>  // std::memcpy, std::strerror
#include <filesystem>
#include <fstream>
#include <memory>  // std::unique_ptr
#include <stdexcept>

namespace {

/// The realloc of stb_image, which allocates any length that a file declares. It fails above 2^29
/// bytes; a picture of 2^25 pixels needs less.
void* limited_realloc(void* memory, std::size_t size) {
  return size > std::size_t{1} << 29 ? nullptr : std::realloc(memory, size);
}

}  // namespace

#define STBI_MALLOC(size) limited_realloc(nullptr, size)
#define STBI_REALLOC(memory, size) limited_realloc(memory, size)
#define STBI_FREE(memory) std::free(memory)
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_FAILURE_USERMSG
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb_easy_font.h>
#include <stb_image.h>
#include <stb_image_write.h>

namespace example {
namespace {

using Bytes = std::vector<stbi_uc>;

Bytes read_bytes(const std::string& path) {
  if (std::filesystem::is_directory(path)) throw std::runtime_error("cannot read " + path + ": it is a directory");
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) throw std::runtime_error("cannot open " + path + ": " + std::strerror(errno));
  constexpr std::size_t most = std::size_t(1) << 28;
  Bytes bytes;
  stbi_uc block[1 << 16];
  while (const std::size_t read = std::fread(block, 1, sizeof block, file.get())) {
    bytes.insert(bytes.end(), block, block + read);
    if (bytes.size() > most) {
      throw std::runtime_error("cannot read " + path + ": it has more than " + std::to_string(most) + " bytes");
    }
  }
  return bytes;
}

/// True if a Huffman table of a JPEG file declares more than 256 codes. There are 256 at most, and
/// stb_image would write past the end of its table.
bool has_oversized_huffman_table(const Bytes& bytes) {
  if (bytes.empty() || bytes[0] != 0xFF) return false;  // not a JPEG file
  for (std::size_t marker = 0; marker + 4 < bytes.size(); ++marker) {
    if (bytes[marker] != 0xFF || bytes[marker + 1] != 0xC4) continue;
    std::size_t at = marker + 4;
    for (int left = 256 * bytes[marker + 2] + bytes[marker + 3] - 2; left > 0 && at < bytes.size();) {
      if (bytes[at] >> 4 > 1 || bytes[at] % 16 > 3) break;  // not a table
      int codes = 0;
      for (std::size_t i = at + 1; i < (std::min)(at + 17, bytes.size()); ++i) codes += bytes[i];
      if (codes > 256) return true;
      left -= 17 + codes, at += static_cast<std::size_t>(17 + codes);
    }
  }
  return false;
}

}  // namespace

Images read_image(const std::string& path) {
  const Bytes bytes = read_bytes(path);
  if (has_oversized_huffman_table(bytes)) {
    throw std::runtime_error("cannot read " + path + " as JPEG: a Huffman table has more than 256 codes");
  }
  int width = 0, height = 0, channels = 0;
  constexpr Index most = Index(1) << 25;
  const auto size = static_cast<int>(bytes.size());
  if (stbi_info_from_memory(bytes.data(), size, &width, &height, &channels) && Index(width) * height > most) {
    throw std::runtime_error("cannot read " + path + ": it has " + std::to_string(width) + "x" +
                             std::to_string(height) + " pixels; at most " + std::to_string(most) + " are read");
  }
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> rgba(
      stbi_load_from_memory(bytes.data(), size, &width, &height, &channels, STBI_rgb_alpha), &stbi_image_free);
  if (!rgba) throw std::runtime_error("cannot read " + path + " as PNG or JPEG: " + stbi_failure_reason());

  Images image(1, height, width, 3);
  const stbi_uc* pixel = rgba.get();
  for (float *out = image.data(), *end = out + image.size(); out != end; pixel += 4) {
    const float opacity = static_cast<float>(pixel[3]) / 255.0F;
    for (int c = 0; c < 3; ++c) *out++ = 1.0F + opacity * (static_cast<float>(pixel[c]) / 127.5F - 2.0F);
  }
  return image;
}

Images shrunk(const Images& images, Index side) {
  const Index N = images.dimension(0), H = images.dimension(1), W = images.dimension(2), C = images.dimension(3);
  const Index k = ((std::max)(H, W) + side - 1) / side;
  if (k <= 1) return images;
  const Index kh = (std::min)(k, H), kw = (std::min)(k, W);  // a side shorter than a block becomes one pixel
  const Index h = H / kh, w = W / kw;
  const Images cropped = images.slice(Eigen::array<Index, 4>{0, 0, 0, 0}, Eigen::array<Index, 4>{N, h * kh, w * kw, C});
  return cropped.reshape(Eigen::array<Index, 6>{N, h, kh, w, kw, C}).mean(Eigen::array<Index, 2>{2, 4});
}

Canvas::Canvas(Index width, Index height, Colour ground) : width_(width), height_(height) {
  constexpr Index most = Index(1) << 28;  // stb counts the bytes in an int
  if (width < 1 || height < 1 || width > most / height) {
    throw std::runtime_error("a picture of " + std::to_string(width) + "x" + std::to_string(height) +
                             " pixels cannot be drawn; it must have between 1 and " + std::to_string(most));
  }
  pixels_.resize(static_cast<std::size_t>(width * height), ground);
}

void Canvas::rectangle(Index x, Index y, Index width, Index height, Colour colour) {
  const Index x_end = (std::min)(x + width, width_), y_end = (std::min)(y + height, height_);
  for (Index j = (std::max)(y, Index(0)); j < y_end; ++j) {
    for (Index i = (std::max)(x, Index(0)); i < x_end; ++i) {
      pixels_[static_cast<std::size_t>(j * width_ + i)] = colour;
    }
  }
}

void Canvas::image(Index x, Index y, const Images& images, Index n, Index scale) {
  const Index last = images.dimension(3) - 1;
  const auto level = [](float v) {
    return static_cast<unsigned char>(std::lround(127.5F * (1.0F + (v > -1.0F ? (std::min)(v, 1.0F) : -1.0F))));
  };
  for (Index i = 0; i < images.dimension(1); ++i) {
    for (Index j = 0; j < images.dimension(2); ++j) {
      const auto channel = [&](Index c) { return level(images(n, i, j, (std::min)(c, last))); };
      rectangle(x + j * scale, y + i * scale, scale, scale, {channel(0), channel(1), channel(2)});
    }
  }
}

void Canvas::text(Index x, Index y, const std::string& line, Colour colour, Index scale) {
  const Index bold = scale / 2;
  std::string printable = line;
  for (char& c : printable) c = c < ' ' || c > '~' ? '?' : c;  // the font has printable ASCII only
  // stb returns the text as rectangles. Each has four corners of 16 bytes, which start with the
  // floats x and y.
  std::vector<char> quads(320 * printable.size() + 64);
  const int count = stb_easy_font_print(0, 0, printable.data(), nullptr, quads.data(), static_cast<int>(quads.size()));
  for (int q = 0; q < count; ++q) {
    float upper_left[2], lower_right[2];
    std::memcpy(upper_left, quads.data() + 64 * q, sizeof upper_left);
    std::memcpy(lower_right, quads.data() + 64 * q + 32, sizeof lower_right);
    const auto at = [&](float v) { return static_cast<Index>(std::lround(v)) * scale; };
    rectangle(x + at(upper_left[0]), y + at(upper_left[1]), at(lower_right[0]) - at(upper_left[0]) + bold,
              at(lower_right[1]) - at(upper_left[1]) + bold, colour);
  }
}

Index Canvas::text_width(const std::string& line, Index scale) {
  return stb_easy_font_width(std::string(line).data()) * scale;
}

void Canvas::write_png(const std::string& path) const {
  std::ofstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path + " for writing: " + std::strerror(errno));
  const auto append = [](void* to, void* bytes, int count) {
    static_cast<std::ofstream*>(to)->write(static_cast<const char*>(bytes), count);
  };
  const auto width = static_cast<int>(width_), height = static_cast<int>(height_);
  const int encoded = stbi_write_png_to_func(append, &file, width, height, 3, pixels_.data(), 3 * width);
  file.close();
  if (!encoded || !file) throw std::runtime_error("cannot write " + path);
}

Canvas film_strip(const std::vector<std::string>& columns, const std::vector<FilmRow>& rows, Index frame_side) {
  constexpr Colour ground{24, 26, 31}, bright{240, 240, 240}, dim{150, 156, 168};
  constexpr Index gap = 12;
  const Index text_height = Canvas::text_height();

  const Index height = rows.at(0).frames.dimension(1), width = rows[0].frames.dimension(2);
  const Index scale = (std::max)(frame_side / (std::max)(height, width), Index(1));
  const Index frame_width = width * scale, frame_height = height * scale;
  Index label_width = 0, column_width = frame_width;
  for (const std::string& column : columns) column_width = (std::max)(column_width, Canvas::text_width(column));
  for (const FilmRow& row : rows) {
    label_width = (std::max)(label_width, Canvas::text_width(row.name));
    for (const auto& caption : row.captions) column_width = (std::max)(column_width, Canvas::text_width(caption));
  }

  const Index left = 2 * gap + label_width, top = 2 * gap + text_height;
  const Index row_height = frame_height + text_height + 2 * gap;
  Canvas canvas(left + static_cast<Index>(columns.size()) * (column_width + gap) + gap,
                top + static_cast<Index>(rows.size()) * row_height, ground);
  for (std::size_t k = 0; k < columns.size(); ++k) {
    const Index x = left + static_cast<Index>(k) * (column_width + gap);
    const auto centred = [&](Index item_width) { return x + (column_width - item_width) / 2; };
    canvas.text(centred(Canvas::text_width(columns[k])), gap, columns[k], bright);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const Index y = top + static_cast<Index>(r) * row_height;
      canvas.image(centred(frame_width), y, rows[r].frames, static_cast<Index>(k), scale);
      if (k >= rows[r].captions.size()) continue;
      const std::string& caption = rows[r].captions[k];
      canvas.text(centred(Canvas::text_width(caption)), y + frame_height + gap / 2, caption, dim);
    }
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Index y = top + static_cast<Index>(r) * row_height + (frame_height - text_height) / 2;
    canvas.text(gap, y, rows[r].name, bright);
  }
  return canvas;
}

}  // namespace example
