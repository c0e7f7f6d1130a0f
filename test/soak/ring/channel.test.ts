// Longer: the channel under the interleaving checker with more preemptions and states, and two hundred random kills.
import { Worker } from 'node:worker_threads';
import test from 'ava';
import * as shipped from 'sharedarraybuffer-ring';
import {
  channelOneOfTwoDies,
  channelReceiverDies,
  channelSenderDies,
  channelSenderResumes,
  channelStream,
} from '../../checker/channel-scenarios.ts';
import { explore } from '../../checker/explore.ts';
import { checkMessage } from '../../integration/ring/channel-worker.ts';

const SCENARIOS = { channelStream, channelSenderDies, channelReceiverDies, channelSenderResumes, channelOneOfTwoDies };

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  for (const at of [0, 0x7fffffff - 31, -48]) {
    test.serial(`${name} from ${at}: no interleaving breaks it`, (t) => {
      t.timeout(600_000);
      const report = explore({ ...scenario(shipped, { at, preemptions: 2 }), maxStates: 400_000 });
      t.is(report.violation?.message, undefined, report.violation?.schedule.slice(-60).join('\n'));
      t.log(`${report.states} states, ${report.isComplete ? 'complete within 2 preemptions' : 'cut off'}`);
    });
  }
}

test.serial('two hundred producers killed at random moments: every prefix whole, every death told', async (t) => {
  t.timeout(600_000);
  const channel = shipped.createChannel({ capacityBytes: 512, restart: 'resume' });
  for (let incarnation = 0; incarnation < 200; incarnation += 1) {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    const wait = (['sleep', 'spin-then-wait', 'wait-async'] as const)[incarnation % 3];
    const workerData = { role: 'produce', handle: channel.handle, wait, messages: 0, seed: incarnation, progress };
    const worker = new Worker(new URL('../../integration/ring/channel-worker.ts', import.meta.url), { workerData });
    shipped.watch(worker, channel);
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    while (channel.inspect().senders[0]?.state !== 'open') await new Promise((resolve) => setTimeout(resolve, 1));
    setTimeout(() => void worker.terminate(), (incarnation * 7) % 23);
    let expected = 0;
    const error = await t.throwsAsync(async () => {
      for (;;) {
        const found = checkMessage((await channel.receiver.receive({ timeoutMs: 30_000 })) ?? new Uint8Array(0), 200);
        if (typeof found === 'string' || found.n !== expected) throw new Error(`found ${JSON.stringify(found)}`);
        expected += 1;
        if (expected % 64 === 0) await new Promise((resolve) => setImmediate(resolve)); // let the timer fire
      }
    });
    t.is((error as { code?: string } | undefined)?.code, 'CHANNEL_PEER_DIED', error?.message);
    await exited;
    t.true(expected >= Atomics.load(progress, 0));
  }
});
