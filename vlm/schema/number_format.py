"""Number formats of all messages, pages, tables and model cards."""


def format_number(value: float | None) -> str:
    """Three decimals without the leading zero, for example ".340"; "–" if undefined."""
    if value is None:
        return "–"
    text = f"{round(value, 3) or 0.0:.3f}"  # never -0.000
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def format_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval, for example ".340 [.290, .390]"; "–" if undefined, no brackets without interval."""
    if value is None or low is None or high is None:
        return format_number(value)
    return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"


def format_percent(share: float | None, *, decimals: int = 1) -> str:
    """A fraction from 0 to 1 as a percentage, for example "5.3%"; "–" if undefined."""
    return "–" if share is None else f"{share:.{decimals}%}"


def format_percent_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A percentage with its interval, as "5.3% [4.1%, 6.6%]"; "–" if undefined, no brackets without interval."""
    if value is None or low is None or high is None:
        return format_percent(value)
    return f"{format_percent(value)} [{format_percent(low)}, {format_percent(high)}]"


def format_probability(probability: float) -> str:
    """A whole percentage that is never rounded to 0 or 100: "<1%", "37%", ">99%"."""
    rounded = f"{probability:.0%}"
    return {"0%": "<1%", "100%": ">99%"}.get(rounded, rounded)


def format_count(count: int, name: str, plural: str = "") -> str:
    """A count with its noun: "1 study", "1,200 studies"."""
    return f"{count:,} {name if count == 1 else plural or name + 's'}"
