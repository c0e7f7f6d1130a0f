// The whole table: every check on the shipped ring, and every check on every planted bug in the files it exercises.
import test from 'ava';
import * as shipped from 'sharedarraybuffer-ring';
import { explore, exploreLoops } from '../../checker/explore.ts';
import { LOOP_CHECKS } from '../../checker/loop-checks.ts';
import { LOOP_PLANTS } from '../../checker/loop-plants.ts';
import { plantBug, removePlants } from '../../checker/plants.ts';
import { RING_CHECKS } from '../../checker/ring-checks.ts';
import { RING_PLANTS } from '../../checker/ring-plants.ts';

type AnyScenario = Parameters<typeof explore>[0]; // the worlds differ, explore does not care

for (const { name, scenario } of RING_CHECKS) {
  test.serial(`every interleaving holds: ${name}`, (t) => {
    t.timeout(120_000);
    const { isComplete, violation } = explore(scenario(shipped) as AnyScenario);
    t.is(violation, undefined, violation?.schedule.join('\n'));
    t.true(isComplete);
  });
}

for (const plant of RING_PLANTS) {
  test.serial(`exactly the listed checks find: ${plant.name}`, async (t) => {
    t.timeout(600_000);
    const lib = await plantBug(plant);
    const checks = RING_CHECKS.filter(({ files }) => files.includes(plant.file));
    const found = checks.filter(({ scenario }) => explore(scenario(lib) as AnyScenario).violation !== undefined);
    t.deepEqual(
      found.map(({ name }) => name),
      [...plant.caughtBy],
    );
  });
}

for (const { name, scenario } of LOOP_CHECKS) {
  test.serial(`no interleaving breaks it: ${name}`, async (t) => {
    t.timeout(300_000);
    const { isComplete, states, violation } = await exploreLoops({ ...scenario(shipped), maxStates: 250_000 });
    t.is(violation?.message, undefined, violation?.schedule.join('\n'));
    t.log(`${states} states${isComplete ? '' : ', cut off'}`);
  });
}

for (const plant of LOOP_PLANTS) {
  test.serial(`exactly the listed checks find: ${plant.name}`, async (t) => {
    t.timeout(600_000);
    const lib = await plantBug(plant);
    const found: string[] = [];
    for (const { name, scenario } of LOOP_CHECKS) {
      if ((await exploreLoops(scenario(lib))).violation !== undefined) found.push(name);
    }
    t.deepEqual(found, [...plant.caughtBy]);
  });
}

test.after.always(() => removePlants());
