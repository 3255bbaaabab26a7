"""How numbers are written in messages, pages, tables and cards: the one place for all programs."""


def format_number(value: float | None) -> str:
    """Three decimals without the leading zero, as ".340"; "–" for undefined."""
    if value is None:
        return "–"
    text = f"{round(value, 3) or 0.0:.3f}"  # never -0.000
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def format_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval, as ".340 [.290, .390]"; "–" for undefined; no brackets without an interval."""
    if value is None or low is None or high is None:
        return format_number(value)
    return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"


def format_percent(share: float | None, *, decimals: int = 1) -> str:
    """A share from 0 to 1, as "5.3%"; "–" for undefined."""
    return "–" if share is None else f"{share:.{decimals}%}"


def format_percent_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A share with its interval, as "5.3% [4.1%, 6.6%]"; "–" for undefined; no brackets without an interval."""
    if value is None or low is None or high is None:
        return format_percent(value)
    return f"{format_percent(value)} [{format_percent(low)}, {format_percent(high)}]"


def format_probability(probability: float) -> str:
    """A whole percentage that is never rounded to certainty: "<1%", "37%", ">99%"."""
    if probability < 0.005:
        return "<1%"
    return ">99%" if probability >= 0.995 else f"{probability:.0%}"


def format_count(count: int, name: str, plural: str = "") -> str:
    """A count with its noun: "1 study", "1,200 studies"."""
    return f"{count:,} {name if count == 1 else plural or name + 's'}"
