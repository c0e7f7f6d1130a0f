// Every interleaving of small ring worlds, on the shipped code; and the same explorations finding planted bugs.
import { readFileSync } from 'node:fs';
import test from 'ava';
import * as shipped from 'sharedarraybuffer-ring';
import { explore } from '../../checker/explore.ts';
import { plantBug, removePlants } from '../../checker/plants.ts';
import { RING_CHECKS, type RingCheck } from '../../checker/ring-checks.ts';
import { plantTable, RING_PLANTS } from '../../checker/ring-plants.ts';
import { xenAttachAtRspProd, xenBlocking } from '../../checker/xen-scenarios.ts';

/** These take long and differ little from their siblings: `npm run soak` does them. */
const LONG = /^(xenLarger|xenBackKilled|fixed\w+) from (0|2\^31 - 1)$/;

// A scenario's world is one of several types; explore does not care which.
const explored = (check: RingCheck, lib: typeof shipped) =>
  explore(check.scenario(lib) as Parameters<typeof explore>[0]);

for (const check of RING_CHECKS.filter(({ name }) => !LONG.test(name))) {
  test.serial(`every interleaving holds: ${check.name}`, (t) => {
    const { isComplete, violation, states } = explored(check, shipped);
    t.is(violation, undefined, violation?.schedule.join('\n'));
    t.true(isComplete);
    t.log(`${states} states`);
  });
}

for (const plant of RING_PLANTS) {
  test.serial(`planted bug is found: ${plant.name}`, async (t) => {
    const lib = await plantBug(plant);
    const check = RING_CHECKS.find(({ name }) => name === plant.caughtBy[0]);
    if (check === undefined) return t.fail('names no check');
    const { violation } = explored(check, lib);
    t.not(violation, undefined);
    t.log(`${check.name}: ${violation?.message.split('\n')[0]}, after ${violation?.schedule.length} steps`);
  });
}

test.serial('a doorbell sampled after the final check is found: a wake-up is lost', (t) => {
  t.regex(explore(xenBlocking(shipped, 0, { samplesLate: true })).violation?.message ?? '', /lost wake-up/);
});

test.serial(
  'a successor that attaches at rspProd executes half a response: only replay from the front end is safe',
  (t) => {
    t.regex(explore(xenAttachAtRspProd(shipped, 0)).violation?.message ?? '', /front end saw/);
  },
);

test.serial('at least 14 bugs are planted, and README.md shows which check finds which', (t) => {
  t.true(RING_PLANTS.length >= 14);
  const readme = readFileSync(new URL('../../checker/README.md', import.meta.url), 'utf8');
  const plain = (text: string) => text.replaceAll(/ +/g, ' ').replaceAll(/-+ \|/g, '- |'); // the formatter aligns columns
  t.true(
    plain(readme).includes(plain(plantTable(RING_PLANTS))),
    `README.md must hold this table:\n${plantTable(RING_PLANTS)}`,
  );
});

test.after.always(() => removePlants());
