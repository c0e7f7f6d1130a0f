// Persistent grants of a ring that nobody uses are let go, and taken again without anybody noticing.
import test from 'ava';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';

test('the mappings of a ring that is idle for a minute go; those of a busy one stay', async (t) => {
  const lab = new BlockLab();
  const idle = lab.guest();
  const busy = lab.guest({ keys: { params: 'vol0:4096+4096' } });
  const held = (domid: number) => lab.hypervisor.inspect().find((each) => each.domid === domid)?.heldGrants ?? 0;
  const without = [held(idle.hypercalls.domid), held(busy.hypercalls.domid)];
  for (const { disk } of [idle, busy]) await lab.until(disk.write(0, pattern(200_000 - (200_000 % 512), 1)));
  const used = [held(idle.hypercalls.domid), held(busy.hypercalls.domid)];
  t.true((used[0] ?? 0) > (without[0] ?? 0) + 20);
  for (let second = 0; second < 150; second += 1) {
    lab.nowMs += 1000;
    await lab.until(busy.disk.write(0, pattern(4096, 2)));
    lab.driverKernel.arm();
    lab.run();
  }
  t.is(held(idle.hypercalls.domid), without[0] ?? 0, 'all of the idle ring but the ring itself');
  t.true(held(busy.hypercalls.domid) >= (used[1] ?? 0));
  await lab.until(idle.disk.write(8192, pattern(8192, 3)));
  const seen = new Uint8Array(8192);
  await lab.until(idle.disk.read(8192, seen));
  t.true(isSame(seen, pattern(8192, 3)));
});

test('a request that is out keeps its ring’s mappings, however long it takes', async (t) => {
  const lab = new BlockLab();
  const { disk, hypercalls } = lab.guest();
  lab.ram.isStalled = true;
  const read = disk.read(0, new Uint8Array(65_536));
  for (let i = 0; i < 10; i += 1) lab.step();
  const held = () => lab.hypervisor.inspect().find((each) => each.domid === hypercalls.domid)?.heldGrants;
  const before = held();
  for (let minute = 0; minute < 5; minute += 1) {
    lab.nowMs += 60_000;
    lab.driverKernel.arm();
    lab.step();
  }
  t.is(held(), before);
  lab.ram.isStalled = false;
  await t.notThrowsAsync(lab.until(read));
});
