// The look of the report.

/** Style sheet of the report: light and dark, for screens and paper. */
export const STYLE = `
:root { color-scheme: light dark; --line: #8884; --quiet: #868e96; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 32px 20px 80px; }
h1 { font-size: 28px; margin: 0 0 12px; } h2 { font-size: 21px; margin: 44px 0 8px; } h3 { font-size: 15px; margin: 26px 0 6px; }
figure { margin: 0 0 18px; } figure svg { max-width: 100%; height: auto; background: none; }
.facts { display: flex; flex-wrap: wrap; gap: 8px 32px; margin: 0 0 14px; } .facts dt { color: var(--quiet); font-size: 12px; }
.facts dd { margin: 0; font-weight: 600; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--quiet); } th:first-child, td:first-child, .text { text-align: left; }
tr.met td:first-child { color: #2b8a3e; } tr.missed td:first-child { color: #e03131; font-weight: 700; } tr.not-measured { color: var(--quiet); }
.scroll { overflow-x: auto; } .small { color: var(--quiet); font-size: 12px; margin: 4px 0; }
details { margin: 14px 0; } summary { cursor: pointer; font-weight: 600; }
code { font-size: 13px; background: #8882; padding: 1px 5px; border-radius: 4px; }
`;
