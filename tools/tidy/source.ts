// Reads the repository's sources once: text, syntax tree, imports.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import ts from 'typescript';

/** One source file of the repository. */
export interface Source {
  /** Path from the root, with forward slashes. */
  readonly path: string;
  /** Its package directory (`packages/ring`, `test`, …). */
  readonly room: string;
  /** The text. */
  readonly text: string;
  /** The syntax tree. */
  readonly tree: ts.SourceFile;
  /** Module specifiers it imports or re-exports, with line numbers. */
  readonly imports: readonly { readonly specifier: string; readonly line: number }[];
}

/** One thing that is not tidy. */
export interface Finding {
  /** Where, from the root. */
  readonly path: string;
  /** Line, from 1. */
  readonly line: number;
  /** What is wrong and what to do. */
  readonly message: string;
}

function listFiles(root: string, directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) return ['node_modules', 'dist'].includes(entry.name) ? [] : listFiles(root, path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

function importsOf(tree: ts.SourceFile): Source['imports'] {
  const found: { specifier: string; line: number }[] = [];
  const visit = (node: ts.Node): void => {
    const specifier =
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : undefined;
    if (specifier !== undefined && ts.isStringLiteral(specifier)) {
      found.push({ specifier: specifier.text, line: lineOf(tree, node) });
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return found;
}

/** The line of a node, from 1. */
export function lineOf(tree: ts.SourceFile, node: ts.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
}

/** Read all TypeScript sources below `rooms`. */
export function readSources(root: string, rooms: readonly string[]): readonly Source[] {
  return rooms.flatMap((room) =>
    listFiles(root, room).map((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
      return { path, room, text, tree, imports: importsOf(tree) };
    }),
  );
}

/** The path from the root that a relative specifier of `from` names. */
export function resolveRelative(from: string, specifier: string): string {
  return relative('.', posix.join(dirname(from), specifier))
    .split(sep)
    .join('/');
}
