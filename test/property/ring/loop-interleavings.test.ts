// Interleavings of ends that live on event loops, on the shipped code; and the same explorations finding planted bugs.
import { readFileSync } from 'node:fs';
import test from 'ava';
import * as shipped from 'sharedarraybuffer-ring';
import { exploreLoops } from '../../checker/explore.ts';
import { LOOP_CHECKS } from '../../checker/loop-checks.ts';
import { LOOP_PLANTS } from '../../checker/loop-plants.ts';
import { plantBug, removePlants } from '../../checker/plants.ts';
import { plantTable } from '../../checker/ring-plants.ts';

for (const { name, scenario } of LOOP_CHECKS) {
  test.serial(`no interleaving breaks it: ${name}`, async (t) => {
    const { violation, states, rests, isComplete } = await exploreLoops(scenario(shipped));
    t.is(violation?.message, undefined, violation?.schedule.slice(-60).join('\n'));
    t.true(rests > 0);
    t.log(`${states} states${isComplete ? '' : ', cut off'}`);
  });
}

for (const plant of LOOP_PLANTS) {
  test.serial(`planted bug is found: ${plant.name}`, async (t) => {
    const lib = await plantBug(plant);
    const check = LOOP_CHECKS.find(({ name }) => name === plant.caughtBy[0]);
    if (check === undefined) return t.fail('names no check');
    const { violation } = await exploreLoops(check.scenario(lib));
    t.not(violation, undefined);
    t.log(`${check.name}: ${violation?.message.split('\n')[0]}, after ${violation?.schedule.length} steps`);
  });
}

test.serial('README.md of the checker shows which check finds which bug of an event loop', (t) => {
  const readme = readFileSync(new URL('../../checker/README.md', import.meta.url), 'utf8');
  const plain = (text: string) => text.replaceAll(/ +/g, ' ').replaceAll(/-+ \|/g, '- |'); // the formatter aligns columns
  const table = plantTable(LOOP_PLANTS);
  t.true(plain(readme).includes(plain(table)), `README.md must hold this table:\n${table}`);
});

test.after.always(() => removePlants());
