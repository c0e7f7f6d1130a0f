// A guest that raises its disk's event without end, with the real drivers: it costs itself delay, its neighbour nothing.
import { type DomainHypercalls, type EvtchnPort, PORT } from '@splitring/hypervisor';
import test from 'ava';
import { BlockCluster } from '../../support/block-cluster.ts';

const WRITES = 100;
const STORM_PER_STEP = 20;

function portsTo(guest: DomainHypercalls, domid: number): EvtchnPort[] {
  const all = Array.from({ length: 64 }, (_, i) => (i + 1) as EvtchnPort);
  return all.filter((port) => {
    const status = guest.portStatus(port);
    return status.kind === PORT.interdomain && status.domid === domid;
  });
}

function measure(isStorming: boolean) {
  const cluster = new BlockCluster();
  const [hostile, neighbour] = [cluster.guest(), cluster.guest()];
  const ports = portsTo(hostile.hypercalls, cluster.io.domid);
  let steps = 0;
  cluster.onStep = () => {
    steps += 1;
    if (!isStorming) return;
    for (const port of ports) for (let i = 0; i < STORM_PER_STEP; i++) hostile.hypercalls.notify(port);
  };
  const settle = () => cluster.run(() => steps > 2000); // the storm has shown what it is
  settle();
  const { words, index } = cluster.io.doorbell;
  const rung = Atomics.load(words, index);
  steps = 0;
  const bytes = new Uint8Array(4096).fill(7);
  for (let i = 0; i < WRITES; i++) neighbour.disk.writeSync(i * 4096, bytes);
  const forNeighbour = { steps, wakes: Atomics.load(words, index) - rung };
  cluster.onStep = () => {};
  hostile.disk.writeSync(0, bytes);
  const back = new Uint8Array(4096);
  hostile.disk.readSync(0, back);
  return { ...forNeighbour, ports, hostile, isServed: back.every((byte) => byte === 7) };
}

test('XSA-391: a guest that storms its back end is held back, its neighbour takes not one step longer', (t) => {
  const calm = measure(false);
  const storm = measure(true);
  t.true(storm.ports.length > 0);
  t.is(storm.steps, calm.steps);
  t.true(
    storm.wakes <= calm.wakes + 10,
    `${storm.wakes} wake-ups of the driver domain, ${calm.wakes} without the storm`,
  );
  t.true(storm.isServed, 'and once it works again it is served');
  const { raised, coalesced } = storm.hostile.hypercalls.portCounters(storm.ports[0] as EvtchnPort);
  t.true(raised - coalesced < 1000, `${raised - coalesced} of ${raised} events got through`);
});
