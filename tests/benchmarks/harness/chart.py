"""The chart, as an SVG file written by hand: two panels of grouped bars."""

from xml.sax.saxutils import escape

WIDTH, PANEL_HEIGHT, TOP, LEFT, GAP = 960, 250, 116, 64, 72
INK, FAINT = "#1f2933", "#d5dbe1"
# Ours in blue, the reference in sand, llama.cpp in green; the darker of each is the one split over most ranks.
COLORS = {"lockstep": ["#1d4e89", "#6fa8dc", "#a9cdec", "#d3e5f5"], "transformers": ["#b5651d", "#e3b778", "#efd3ab", "#f7e9d5"],
          "llama.cpp": ["#4d7c4d", "#9cc59c", "#c4ddc4", "#e1eee1"]}  # fmt: skip


def _text(x, y, text, size=13, anchor="start", weight="normal", fill=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{fill}">{escape(text)}</text>'


def _nice_ceiling(value):
    """The axis' end and its step: at most six steps of 1, 2 or 5 times a power of ten."""
    step = 1e-6
    while True:
        for factor in (1, 2, 5):
            if value <= 6 * step * factor:
                count = -(-value // (step * factor))
                return count * step * factor, step * factor
        step *= 10


def _label(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


class _Panel:
    def __init__(self, left, width, title, unit, groups, series):
        self.left, self.width, self.title, self.unit, self.groups, self.series = left, width, title, unit, groups, series
        values = [value for entry in series for value in entry["values"] if value is not None]
        self.end, self.step = _nice_ceiling(max(values, default=1.0) * 1.08)

    def _y(self, value):
        return TOP + PANEL_HEIGHT * (1 - value / self.end)

    def _axes(self):
        parts = [_text(self.left, TOP - 30, self.title, 15, weight="600"), _text(self.left, TOP - 12, self.unit, 12, fill="#52606d")]
        for i in range(round(self.end / self.step) + 1):
            y = self._y(i * self.step)
            color = INK if i == 0 else FAINT
            parts.append(f'<line x1="{self.left}" y1="{y:.1f}" x2="{self.left + self.width}" y2="{y:.1f}" stroke="{color}"/>')
            parts.append(_text(self.left - 8, y + 4, f"{i * self.step:g}", 12, "end", fill="#52606d"))
        return parts

    def _bar(self, x, width, value, color):
        if value is None:
            return [_text(x + width / 2, self._y(0) - 5, "unmeasured", 9, "middle", fill="#52606d")]
        y = self._y(value)
        return [
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{self._y(0) - y:.1f}" rx="2" fill="{color}"/>',
            _text(x + width / 2, y - 5, _label(value), 11, "middle"),
        ]

    def draw(self):
        parts = self._axes()
        group_width = self.width / len(self.groups)
        bar_width = min(44, group_width * 0.86 / len(self.series))
        for g, group in enumerate(self.groups):
            center = self.left + group_width * (g + 0.5)
            parts.append(_text(center, TOP + PANEL_HEIGHT + 20, group, 13, "middle"))
            for s, entry in enumerate(self.series):
                x = center + bar_width * (s - len(self.series) / 2)
                parts += self._bar(x + 1.5, bar_width - 3, entry["values"][g], entry["color"])
        return parts


def _legend(series):
    x, y, parts = LEFT, TOP + PANEL_HEIGHT + 48, []
    for entry in series:
        width = 22 + 6.9 * len(entry["label"]) + 18
        if x + width > WIDTH - 20:
            x, y = LEFT, y + 22
        parts.append(f'<rect x="{x:.1f}" y="{y - 11:.1f}" width="14" height="14" rx="2" fill="{entry["color"]}"/>')
        parts.append(_text(x + 20, y + 1, entry["label"], 13))
        x += width
    return parts, y


def draw(title, subtitle, panels):
    """`panels`: dictionaries with title, unit, groups and series [{label, side, values}], None being unmeasured."""
    for panel in panels:
        seen = {side: 0 for side in COLORS}
        for entry in panel["series"]:
            entry["color"] = COLORS[entry["side"]][min(seen[entry["side"]], 3)]
            seen[entry["side"]] += 1
    num_groups = sum(len(panel["groups"]) for panel in panels)
    space = WIDTH - LEFT - 24 - GAP * (len(panels) - 1)
    legend, bottom = _legend(panels[0]["series"])
    height = bottom + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        _text(LEFT - 40, 30, title, 18, weight="700"),
        _text(LEFT - 40, 50, subtitle, 12, fill="#52606d"),
    ]
    left = LEFT
    for panel in panels:
        width = space * len(panel["groups"]) / num_groups
        parts += _Panel(left, width, **panel).draw()
        left += width + GAP
    return "\n".join(parts + legend + ["</svg>"]) + "\n"
