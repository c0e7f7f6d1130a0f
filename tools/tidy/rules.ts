// The rules of the house, each a function from sources to findings.
import ts from 'typescript';
import { ADAPTERS, OUTSIDE_WORLD, PACKAGES } from './house.ts';
import { type Finding, lineOf, resolveRelative, type Source } from './source.ts';

const MAX_FILE_LINES = 400;
const MAX_FUNCTION_LINES = 70;

const isPackage = (source: Source): boolean => source.room in PACKAGES;
const isAdapter = (source: Source): boolean =>
  source.path.endsWith('-adapter.ts') ||
  ADAPTERS.some(({ path }) => (path.endsWith('/') ? source.path.startsWith(path) : source.path === path));
const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** Package arrows point downwards only; relative imports stay inside their package. */
export function arrows(sources: readonly Source[]): Finding[] {
  const own = new Set(Object.values(PACKAGES).map(({ name }) => name));
  return sources.filter(isPackage).flatMap((source) =>
    source.imports.flatMap(({ specifier, line }) => {
      const room = PACKAGES[source.room];
      if (room === undefined) return [];
      if (specifier.startsWith('.')) {
        const target = resolveRelative(source.path, specifier);
        return target.startsWith(`${source.room}/src/`)
          ? []
          : [{ path: source.path, line, message: `imports ${target} from outside its package: go through the door` }];
      }
      const name = packageOf(specifier);
      return own.has(name) && !room.below.includes(name)
        ? [{ path: source.path, line, message: `${room.name} may not import ${name}: arrows only point down` }]
        : [];
    }),
  );
}

/** No file reaches itself through imports. */
export function cycles(sources: readonly Source[]): Finding[] {
  const edges = new Map(
    sources
      .filter(isPackage)
      .map((source) => [
        source.path,
        source.imports
          .filter(({ specifier }) => specifier.startsWith('.'))
          .map(({ specifier }) => resolveRelative(source.path, specifier)),
      ]),
  );
  const findings: Finding[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const walk = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      const loop = [...trail.slice(trail.indexOf(path)), path];
      findings.push({ path, line: 1, message: `import cycle: ${loop.join(' → ')}` });
      return;
    }
    state.set(path, 'open');
    for (const next of edges.get(path) ?? []) walk(next, [...trail, path]);
    state.set(path, 'done');
  };
  for (const path of edges.keys()) walk(path, []);
  return findings;
}

/** A package is entered through the doors that its package.json lists. */
export function doors(sources: readonly Source[], exportsOf: (packageName: string) => readonly string[]): Finding[] {
  const own = new Set(Object.values(PACKAGES).map(({ name }) => name));
  return sources.flatMap((source) =>
    source.imports.flatMap(({ specifier, line }) => {
      const name = packageOf(specifier);
      if (!own.has(name)) return [];
      const door = `.${specifier.slice(name.length)}`;
      return exportsOf(name).includes(door)
        ? []
        : [{ path: source.path, line, message: `${specifier} is no door of ${name}` }];
    }),
  );
}

/** Time, chance, threads and Node itself stay outside drivers, devices and rings. */
export function outsideWorld(sources: readonly Source[]): Finding[] {
  const findings: Finding[] = [];
  for (const source of sources) {
    if (!isPackage(source) || isAdapter(source)) continue;
    const report = (node: ts.Node, what: string) =>
      findings.push({
        path: source.path,
        line: lineOf(source.tree, node),
        message: `uses ${what}: hand it in, or put it into an adapter`,
      });
    for (const { specifier, line } of source.imports) {
      if (specifier.startsWith('node:')) {
        findings.push({ path: source.path, line, message: `imports ${specifier}: only adapters may` });
      }
    }
    const visit = (node: ts.Node): void => {
      if (ts.isIdentifier(node) && OUTSIDE_WORLD.includes(node.text as never) && isGlobalUse(node)) {
        report(node, node.text);
      }
      if (ts.isPropertyAccessExpression(node) && node.getText(source.tree) === 'Math.random') {
        report(node, 'Math.random');
      }
      ts.forEachChild(node, visit);
    };
    visit(source.tree);
  }
  return findings;
}

/** Whether an identifier stands for the global of its name, not for a property, a type or a declaration. */
function isGlobalUse(node: ts.Identifier): boolean {
  const parent = node.parent;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  return ts.isCallExpression(parent) || ts.isNewExpression(parent);
}

/** Files and functions stay readable. `// long file: reason` in the first five lines lifts the file limit. */
export function sizes(sources: readonly Source[]): Finding[] {
  const findings: Finding[] = [];
  for (const source of sources) {
    const lines = source.text.split('\n');
    if (lines.length > MAX_FILE_LINES && !lines.slice(0, 5).some((line) => line.startsWith('// long file: '))) {
      findings.push({
        path: source.path,
        line: 1,
        message: `${lines.length} lines (limit ${MAX_FILE_LINES}): split it, or give a reason: "// long file: …"`,
      });
    }
    if (!isPackage(source)) continue;
    const visit = (node: ts.Node): void => {
      if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
        const start = source.tree.getLineAndCharacterOfPosition(node.getStart(source.tree)).line;
        const length = source.tree.getLineAndCharacterOfPosition(node.end).line - start + 1;
        if (length > MAX_FUNCTION_LINES) {
          findings.push({
            path: source.path,
            line: start + 1,
            message: `a function of ${length} lines (limit ${MAX_FUNCTION_LINES}): split it`,
          });
        }
      }
      ts.forEachChild(node, visit);
    };
    visit(source.tree);
  }
  return findings;
}

/** Every export, and every file, says what it is for. */
export function documented(sources: readonly Source[]): Finding[] {
  const findings: Finding[] = [];
  for (const source of sources.filter(isPackage)) {
    const isDoor = source.path.endsWith('/src/index.ts');
    if (!isDoor && !/^(#!.*\n)?\/[/*]/.test(source.text)) {
      findings.push({ path: source.path, line: 1, message: 'has no comment on top that says what it is for' });
    }
    for (const statement of source.tree.statements) {
      const isExported =
        ts.canHaveModifiers(statement) &&
        ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true;
      if (!isExported || isOverloadBody(statement, source.tree)) continue;
      if (ts.getJSDocCommentsAndTags(statement).length === 0) {
        const name = statement.getText(source.tree).split('\n')[0]?.slice(0, 60);
        findings.push({ path: source.path, line: lineOf(source.tree, statement), message: `no docstring: ${name}` });
      }
    }
  }
  return findings;
}

/** The implementation after overloads: the signatures above it carry the documentation. */
function isOverloadBody(statement: ts.Statement, tree: ts.SourceFile): boolean {
  if (!ts.isFunctionDeclaration(statement)) return false;
  return tree.statements.some(
    (other) =>
      other !== statement &&
      ts.isFunctionDeclaration(other) &&
      other.name?.text === statement.name?.text &&
      ts.getJSDocCommentsAndTags(other).length > 0,
  );
}

/** Marks of unfinished work do not land. */
export function unfinished(sources: readonly Source[]): Finding[] {
  return sources.flatMap((source) =>
    source.text.split('\n').flatMap((text, at) => {
      const mark = /\/[/*].*\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b/.exec(text);
      return mark === null ? [] : [{ path: source.path, line: at + 1, message: `unfinished mark: ${mark[1]}` }];
    }),
  );
}
