"""The report's page: one file that needs nothing else, reads on a screen light or dark, and prints."""

from collections.abc import Sequence
from html import escape

import pandas as pd

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--panel:#f6f8fa;
--yes:#00704a;--no:#a63c00;--open:#57606a;--link:#005a9c}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4af;--line:#363c44;--paper:#14171a;
--panel:#1c2024;--yes:#3fc796;--no:#ff9a5c;--open:#9aa4af;--link:#7cc0ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:860px;margin:0 auto;padding:40px 24px 80px}h1{font-size:30px;line-height:1.2;margin:0 0 4px}
h2{font-size:21px;margin:48px 0 12px;padding-bottom:4px;border-bottom:1px solid var(--line)}
h3{font-size:16px;margin:28px 0 6px}p{margin:8px 0}.lead{color:var(--soft);margin:0 0 20px}a{color:var(--link)}
nav a{margin-right:14px;white-space:nowrap}nav{font-size:14px;margin:12px 0 28px}
dl{display:grid;grid-template-columns:150px 1fr;gap:4px 16px;margin:0}dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.verdict{border:1px solid var(--line);border-left:5px solid var(--open);border-radius:6px;padding:12px 16px;
margin:12px 0;background:var(--panel);break-inside:avoid}
.verdict.supported{border-left-color:var(--yes)}.verdict.not-supported{border-left-color:var(--no)}
.badge{font-weight:600;color:var(--open)}.supported .badge{color:var(--yes)}.not-supported .badge{color:var(--no)}
.verdict p{margin:4px 0}.small,figcaption{font-size:13.5px;color:var(--soft)}
figure{margin:20px 0 34px;break-inside:avoid}figure svg{max-width:100%;height:auto;display:block;margin:0 auto}
figure img{max-width:100%}figcaption b{color:var(--ink)}
code{font:12.5px/1.5 ui-monospace,"DejaVu Sans Mono",monospace;background:var(--panel);
border:1px solid var(--line);border-radius:4px;padding:1px 4px;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:4px 8px;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600}
th:first-child,td:first-child{text-align:left}table.text td,table.text th{text-align:left;overflow-wrap:anywhere}
tr.ours td{border-bottom:none}
.missing{border:1px dashed var(--line);border-radius:6px;padding:10px 16px;color:var(--soft)}
@media print{body{font-size:10.5pt}main{max-width:none;
padding:0}nav{display:none}h2,h3{break-after:avoid}a{color:inherit}
tr{break-inside:avoid}.table1{break-inside:avoid}.table1 table,.table1 .small{font-size:8pt;line-height:1.2}
.table1 th,.table1 td{padding:2px 5px}}
"""


def document(title: str, body: Sequence[str]) -> str:
    """The whole file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An icon of nothing keeps the browser from asking a server for one.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n'
        + "<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(anchor: str, title: str, *parts: str) -> str:
    """A section with its heading."""
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n' + "\n".join(parts) + "\n</section>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def facts(lines: Sequence[tuple[str, str]]) -> str:
    """Names and what they are."""
    return "<dl>\n" + "\n".join(f"<dt>{escape(n)}</dt><dd>{escape(t)}</dd>" for n, t in lines) + "\n</dl>"


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def verdict(number: int, claim: str, outcome: str, sentence: str, left_out: str) -> str:
    """One conjecture and what is said of it."""
    rest = paragraph(left_out, "small") if left_out else ""
    return (
        f'<div class="verdict {outcome.replace(" ", "-")}"><p><b>Conjecture {number}.</b> {escape(claim)} '
        f'<span class="badge">{escape(outcome)}</span></p>{paragraph(sentence)}{rest}</div>'
    )


def figure(title: str, picture: str, caption: str, files: Sequence[str], command: str) -> str:
    """A picture, what it shows, its files, and how to make it again."""
    links = " · ".join(f'<a href="{escape(file)}">{escape(file)}</a>' for file in files)
    return (
        f"<figure>\n{picture}\n<figcaption><b>{escape(title)}.</b> {escape(caption)}<br>"
        f"{links} · again: <code>{escape(command)}</code></figcaption>\n</figure>"
    )


def described(svg: str, alt: str) -> str:
    """An SVG element that says what it shows to those who do not see it."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt, quote=True)}" ', 1)


def missing_figure(title: str, needs: str) -> str:
    """In the place of a figure that cannot be drawn."""
    return f'<div class="missing"><b>{escape(title)}</b> cannot be drawn: it needs {escape(needs)}.</div>'


def text_table(frame: pd.DataFrame) -> str:
    """A table of words."""
    head = "".join(f"<th>{escape(str(column))}</th>" for column in frame.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row) + "</tr>\n" for row in frame.to_numpy())
    return f'<div class="scroll"><table class="text"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
