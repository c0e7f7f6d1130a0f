// A connection that fails at its k-th step, for every k: nothing is left behind, and the disk can be connected again.
// Hardening table: connect failure not unwound (CVE-2026-99286/7).
import { type BlockBackend, createBlockBackend } from '@splitring/backend';
import { createBlockFrontend, type Disk } from '@splitring/frontend';
import type { DomainKernel } from '@splitring/hypervisor';
import { XenbusState } from '@splitring/hypervisor/io';
import test from 'ava';
import { BlockLab, isSame, pattern } from '../../support/block-lab.ts';
import { FailingHypercalls } from '../../support/failing-hypercalls.ts';

/** A guest and a driver domain whose hypercalls fail on command; everything joined by hand. */
class Rig {
  readonly lab = new BlockLab();
  readonly front: FailingHypercalls;
  readonly back: FailingHypercalls;
  readonly backend: BlockBackend;
  disk: Disk | undefined;
  private readonly frontKernel: DomainKernel;
  private readonly backKernel: DomainKernel;
  private readonly queues: number;

  constructor(queues: number) {
    const { hypervisor } = this.lab;
    this.queues = queues;
    this.front = new FailingHypercalls(hypervisor.attachInThread(hypervisor.createDomain({ name: 'guest' })));
    this.back = new FailingHypercalls(this.lab.driver);
    this.frontKernel = this.lab.kernel(this.front.hypercalls);
    this.backKernel = this.lab.kernel(this.back.hypercalls);
    this.backend = createBlockBackend({ disk: () => ({ device: this.lab.ram }) });
  }

  /** Connect a disk, or fail to. @returns both ends */
  connect() {
    this.disk = undefined;
    const frontend = createBlockFrontend({
      onDisk: (disk) => {
        this.disk = disk;
      },
      queues: this.queues,
      ringOrder: 1,
      maxSegments: 32,
      bufferBytes: 64 << 10,
      waitUntil: (isDone) => this.run(isDone),
    });
    const ends = this.lab.wire.join(
      '51712',
      { kernel: this.frontKernel, deviceClass: frontend },
      { kernel: this.backKernel, deviceClass: this.backend, keys: { params: 'vol0', mode: 'w' } },
    );
    this.run();
    return ends;
  }

  /** Take both ends down and away, whatever state they are in. */
  remove(ends: ReturnType<Rig['connect']>): void {
    ends.front.publish({}, XenbusState.Closing);
    this.run();
    ends.front.publish({}, XenbusState.Closed);
    this.run();
    ends.front.driver?.remove();
    ends.back.driver?.remove();
    this.run();
  }

  /** What both domains hold. */
  usage() {
    const { domid } = this.front.hypercalls;
    // Grants that the back end let go of a moment too late are ended in the next round.
    this.lab.nowMs += 1001;
    this.run();
    return this.lab.hypervisor
      .inspect()
      .filter((each) => each.domid === domid || each.domid === this.lab.driver.domid)
      .map(({ ports, mappings, heldGrants, allocatedFrames, quarantinedFrames }) => {
        return { ports, mappings, heldGrants, allocatedFrames, quarantinedFrames };
      });
  }

  /** Move everything until `isDone`; by default until nothing moves any more. */
  run(isDone?: () => boolean): void {
    for (let steps = 0; steps < 5000 && isDone?.() !== true; steps += 1) {
      const moved = [this.lab.wire.poll(), this.backKernel.poll(), this.frontKernel.poll()];
      if (moved.includes(true)) continue;
      if (isDone === undefined) return;
      this.lab.nowMs += 0.25;
    }
  }
}

for (const queues of [1, 3]) {
  for (const side of ['front', 'back'] as const) {
    test(`the ${side} end of ${queues} queues fails at every step and leaves nothing behind`, (t) => {
      const rig = new Rig(queues);
      rig.remove(rig.connect()); // what is made once for all connections is there now
      const before = rig.usage();
      let step = 1;
      for (; ; step += 1) {
        rig[side].reset(step);
        const ends = rig.connect();
        const { failed } = rig[side];
        rig[side].reset(0);
        if (failed === undefined) {
          rig.remove(ends);
          break;
        }
        const name = `step ${step}, ${failed}`;
        t.truthy(ends[side].failure, name);
        t.is(rig.disk, undefined, name);
        rig.remove(ends);
        t.deepEqual(rig.usage(), before, name);
        // And again, this time well.
        const again = rig.connect();
        const disk = rig.disk as Disk | undefined;
        t.truthy(disk, name);
        disk?.writeSync(4096, pattern(8192, step));
        t.true(isSame(rig.lab.ram.bytes.subarray(4096, 12_288), pattern(8192, step)), name);
        rig.remove(again);
        t.deepEqual(rig.usage(), before, `${name}, after a connection that went well`);
      }
      t.true(step > (side === 'front' ? 10 : 2) * queues, `${step} steps`);
    });
  }
}
