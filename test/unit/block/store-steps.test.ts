// A xenstore that refuses the k-th request of a connection, for every k: an error with a name or a disk, never a hang, and
// nothing left behind; what the store asks to be done anew is done anew.
import { BlockError } from '@splitring/frontend';
import type { XenstoreClient } from '@splitring/hypervisor';
import test from 'ava';
import { BlockCluster } from '../../support/block-cluster.ts';
import { isSame, pattern } from '../../support/block-lab.ts';
import { FailingStore } from '../../support/failing-store.ts';

const QUIET_MS = 1500; // longer than grants that are let go late take

/** A driver domain and a guest, one of which has a store that fails on command. */
class Rig {
  readonly cluster: BlockCluster;
  store: FailingStore | undefined;
  private readonly guest;

  constructor(side: 'front' | 'back') {
    const wrap = (real: XenstoreClient) => {
      this.store = new FailingStore(real);
      return this.store.client;
    };
    this.cluster = new BlockCluster({ storeOf: side === 'back' ? wrap : undefined });
    if (side === 'front') this.cluster.rig.storeOf = wrap;
    this.guest = this.cluster.attachGuest({ queues: 2, bufferBytes: 64 << 10, maxSegments: 32 });
    this.cluster.rest(50);
    this.unplug();
  }

  plug(): void {
    this.guest.disks.length = 0;
    this.cluster.plug(this.guest.hypercalls.domid);
    this.cluster.rest(50);
  }

  get disk() {
    return this.guest.disks[0];
  }

  unplug(): void {
    this.cluster.unplug(this.guest);
    this.cluster.rest(QUIET_MS);
  }

  /** The error that either end has written down. */
  get error(): string | undefined {
    const { domid } = this.guest.hypercalls;
    const { io, rig } = this.cluster;
    const front = `/local/domain/${domid}/error/device/vbd/51712/error`;
    const back = `/local/domain/${io.domid}/error/backend/vbd/${domid}/51712/error`;
    return rig.value(front) ?? rig.value(back);
  }

  forgetErrors(): void {
    const { domid } = this.guest.hypercalls;
    for (const home of [domid, this.cluster.io.domid]) {
      this.cluster.rig.dom0.remove(`/local/domain/${home}/error/device`);
      this.cluster.rig.dom0.remove(`/local/domain/${home}/error/backend`);
    }
    this.cluster.rig.pump();
  }

  /** What both domains hold. */
  usage() {
    return this.cluster.hypervisor.inspect().map(({ domid, ports, mappings, heldGrants, allocatedFrames }) => {
      return { domid, ports, mappings, heldGrants, allocatedFrames };
    });
  }
}

function refusalOf(call: () => void): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return error instanceof BlockError ? error.code : String(error);
  }
}

for (const side of ['front', 'back'] as const) {
  for (const error of ['ENOSPC', 'EACCES', 'EAGAIN'] as const) {
    test(`a store that answers ${error} to any one request of the ${side} end is a named error or a disk`, (t) => {
      const rig = new Rig(side);
      const before = rig.usage();
      const seen = { connected: 0, failed: 0 };
      for (let step = 1; ; step += 1) {
        rig.forgetErrors();
        rig.store?.reset(step, error);
        rig.plug();
        const failed = rig.store?.failed;
        rig.store?.reset(0, error);
        const name = `request ${step}, ${failed}`;
        const { disk } = rig;
        const refusal = disk && refusalOf(() => disk.writeSync(4096, pattern(4096, step)));
        if (disk === undefined || refusal !== undefined) {
          seen.failed += 1;
          t.true(refusal === undefined || refusal === 'BLOCK_GONE', `${name}: ${refusal}`);
          t.regex(rig.error ?? 'none', /^(XENBUS_PUBLISH|BLKFRONT_SIZE|BLKBACK_BAD_FRONT|BLKBACK_NO_DISK) /, name);
          t.not(error === 'EAGAIN' && failed?.startsWith('transaction'), true, `${name} can be made anew`);
        } else {
          seen.connected += 1;
          const into = new Uint8Array(4096);
          disk.readSync(4096, into);
          t.true(isSame(into, pattern(4096, step)), name);
        }
        rig.unplug();
        t.deepEqual(rig.usage(), before, name);
        if (failed === undefined) break;
        if (step > 500) {
          t.fail('the connection takes ever more requests');
          break;
        }
      }
      t.log(seen);
      t.true(seen.connected > 0 && (error === 'EAGAIN' || seen.failed > 0));
    });
  }
}
