// The structure check: is the house still the house? `npm run tidy`
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PACKAGES } from './house.ts';
import * as rules from './rules.ts';
import { readSources } from './source.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sources = readSources(root, [...Object.keys(PACKAGES), 'test', 'bench', 'examples', 'tools']);

const doorsByName = new Map(
  Object.entries(PACKAGES).map(([room, { name }]) => {
    const manifest = JSON.parse(readFileSync(`${root}${room}/package.json`, 'utf8')) as { exports: object };
    return [name, Object.keys(manifest.exports)];
  }),
);

const findings = [
  ...rules.arrows(sources),
  ...rules.cycles(sources),
  ...rules.doors(sources, (name) => doorsByName.get(name) ?? []),
  ...rules.outsideWorld(sources),
  ...rules.sizes(sources),
  ...rules.documented(sources),
  ...rules.unfinished(sources),
];
for (const { path, line, message } of findings) console.log(`${path}:${line}: ${message}`);
console.log(`tidy: ${sources.length} files, ${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;
