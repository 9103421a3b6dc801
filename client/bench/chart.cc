// The chart of a benchmark, as an SVG file written by hand: two panels of cumulative distributions.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/bench/report.h"

namespace lockstep::client {
namespace {

constexpr double kWidth = 960, kTop = 84, kPanelHeight = 260, kPanelWidth = 390, kLeft = 64,
                 kGap = 60;
constexpr const char* kColors[] = {"#1d4e89", "#b5651d", "#2f855a", "#9b2c5e",
                                   "#6b46c1", "#4a5568", "#0f8b8d", "#d69e2e"};
constexpr size_t kNumPoints = 200;

std::string Text(double x, double y, const std::string& text, int size, const char* anchor,
                 const char* fill = "#1f2933") {
  return absl::StrFormat(
      "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\" fill=\"%s\">%s</text>\n", x,
      y, size, anchor, fill,
      absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}}));
}

// A time axis in powers of ten, because latencies span them.
class Panel {
 public:
  // `values` of each run: sorted seconds.
  Panel(double left, std::string title, std::vector<const std::vector<double>*> values)
      : left_(left), title_(std::move(title)), values_(std::move(values)) {
    double low = 1e9, high = 0;
    for (const auto* each : values_) {
      if (each->empty()) continue;
      low = std::min(low, std::max(each->front(), 1e-5));
      high = std::max(high, each->back());
    }
    if (high <= 0) low = 1e-3, high = 1;
    first_ = std::floor(std::log10(low));
    last_ = std::max(first_ + 1, std::ceil(std::log10(std::max(high, low))));
  }

  std::string Draw() const {
    std::string svg = Text(left_, kTop - 22, title_, 15, "start");
    absl::StrAppend(&svg,
                    Text(left_, kTop - 6, "% of them within the time", 11, "start", "#52606d"));
    for (int percent = 0; percent <= 100; percent += 25) {
      const double y = kTop + kPanelHeight * (1 - percent / 100.0);
      absl::StrAppendFormat(&svg,
                            "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                            "stroke=\"#d5dbe1\"/>\n",
                            left_, y, left_ + kPanelWidth, y);
      absl::StrAppend(&svg, Text(left_ - 8, y + 4, absl::StrCat(percent), 11, "end", "#52606d"));
    }
    for (double power = first_; power <= last_; ++power) {
      const double x = X(std::pow(10.0, power));
      absl::StrAppendFormat(&svg,
                            "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                            "stroke=\"#d5dbe1\"/>\n",
                            x, kTop, x, kTop + kPanelHeight);
      absl::StrAppend(&svg,
                      Text(x, kTop + kPanelHeight + 18, Label(power), 11, "middle", "#52606d"));
    }
    for (size_t i = 0; i < values_.size(); ++i) absl::StrAppend(&svg, Curve(i));
    return svg;
  }

 private:
  double X(double seconds) const {
    const double place = (std::log10(std::max(seconds, 1e-5)) - first_) / (last_ - first_);
    return left_ + kPanelWidth * std::clamp(place, 0.0, 1.0);
  }

  static std::string Label(double power) {
    return power >= 0 ? absl::StrFormat("%g s", std::pow(10.0, power))
                      : absl::StrFormat("%g ms", std::pow(10.0, power + 3));
  }

  std::string Curve(size_t run) const {
    const std::vector<double>& values = *values_[run];
    if (values.empty()) return "";
    std::string points;
    for (size_t i = 0; i <= kNumPoints; ++i) {
      const double share = static_cast<double>(i) / kNumPoints;
      const double value =
          values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
      absl::StrAppendFormat(&points, "%.1f,%.1f ", X(value), kTop + kPanelHeight * (1 - share));
    }
    return absl::StrFormat(
        "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", points,
        kColors[run % std::size(kColors)]);
  }

  const double left_;
  const std::string title_;
  const std::vector<const std::vector<double>*> values_;
  double first_ = 0, last_ = 0;  // powers of ten, in seconds
};

}  // namespace

std::string DrawLatencies(const std::vector<BenchRun>& runs) {
  std::vector<const std::vector<double>*> first_tokens, gaps;
  for (const BenchRun& run : runs) {
    first_tokens.push_back(&run.summary.ttft_values);
    gaps.push_back(&run.summary.itl_values);
  }
  const double legend = kTop + kPanelHeight + 44;
  const double height = legend + 20.0 * static_cast<double>(runs.size());
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
      "height=\"%.0f\" font-family=\"system-ui, Segoe UI, Helvetica, Arial, sans-serif\" "
      "role=\"img\">\n<title>Latencies</title>\n<rect width=\"%.0f\" height=\"%.0f\" "
      "fill=\"#ffffff\"/>\n",
      kWidth, height, kWidth, height, kWidth, height);
  absl::StrAppend(&svg, Text(24, 32, "Latencies of lockstep bench serve", 18, "start"),
                  Panel(kLeft, "Time to first token", first_tokens).Draw(),
                  Panel(kLeft + kPanelWidth + kGap, "Inter-token latency", gaps).Draw());
  for (size_t i = 0; i < runs.size(); ++i) {
    const double y = legend + 20.0 * static_cast<double>(i);
    absl::StrAppendFormat(&svg,
                          "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"4\" fill=\"%s\"/>\n",
                          kLeft, y - 6, kColors[i % std::size(kColors)]);
    const Summary& summary = runs[i].summary;
    const double rate =
        summary.seconds > 0 ? static_cast<double>(summary.output_tokens) / summary.seconds : 0;
    absl::StrAppend(
        &svg,
        Text(kLeft + 22, y, absl::StrFormat("%s: %.1f tokens/s", runs[i].name, rate), 13, "start"));
  }
  return svg + "</svg>\n";
}

}  // namespace lockstep::client
