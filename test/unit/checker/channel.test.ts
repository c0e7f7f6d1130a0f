// The shipped channel under the interleaving checker, and the same scenarios against planted bugs: each must be found.
import test from 'ava';
import * as shipped from 'sharedarraybuffer-ring';
import { CHANNEL_PLANTS } from '../../checker/channel-plants.ts';
import {
  channelOneOfTwoDies,
  channelReceiverDies,
  channelSenderDies,
  channelSenderResumes,
  channelStream,
} from '../../checker/channel-scenarios.ts';
import type { ChannelWorld } from '../../checker/channel-world.ts';
import { explore, type Scenario } from '../../checker/explore.ts';
import { plantBug, type RingLibrary, removePlants } from '../../checker/plants.ts';

const STARTS = [0, 0x7fffffff - 31, -48];

interface Check {
  readonly name: string;
  readonly scenario: (lib: RingLibrary) => Scenario<ChannelWorld>;
  /** Whether the bounded exploration ends within the limit of states. */
  readonly isComplete?: boolean;
}

const CHECKS: readonly Check[] = [
  ...STARTS.map((at) => ({
    name: `stream from ${at}`,
    scenario: (lib: RingLibrary) => channelStream(lib, { at, preemptions: 1 }),
    isComplete: true,
  })),
  { name: 'sender dies', scenario: (lib) => channelSenderDies(lib, { at: 0, preemptions: 1 }) },
  { name: 'receiver dies', scenario: (lib) => channelReceiverDies(lib, { at: -48, preemptions: 0 }), isComplete: true },
  { name: 'sender resumes', scenario: (lib) => channelSenderResumes(lib, { at: 0, preemptions: 0 }) },
  { name: 'one of two dies', scenario: (lib) => channelOneOfTwoDies(lib, { at: 0, preemptions: 0 }) },
];

for (const { name, scenario, isComplete } of CHECKS) {
  test.serial(`channel, ${name}: no interleaving breaks it`, (t) => {
    const report = explore({ ...scenario(shipped), maxStates: 25_000 });
    t.is(report.violation?.message, undefined, report.violation?.schedule.slice(-40).join('\n'));
    if (isComplete === true) t.true(report.isComplete);
    t.true(report.rests > 1);
  });
}

test.serial('channel: every planted bug is found', async (t) => {
  t.timeout(90_000);
  const table: string[] = [];
  for (const plant of CHANNEL_PLANTS) {
    const lib = await plantBug(plant);
    const check = CHECKS.find(({ name }) => name === plant.caughtBy);
    const isFound =
      check !== undefined && explore({ ...check.scenario(lib), maxStates: 25_000 }).violation !== undefined;
    table.push(`${plant.name} → ${isFound ? plant.caughtBy : 'NOT FOUND'}`);
  }
  removePlants();
  t.log(table.join('\n'));
  t.deepEqual(
    table.filter((line) => line.endsWith('NOT FOUND')),
    [],
  );
});
