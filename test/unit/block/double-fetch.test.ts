// XSA-155: how often the back end reads each byte that a guest can change. Counted, not believed.
import {
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  blkifRequestIndirect,
  blkifSegment,
} from '@splitring/hypervisor/io';
import test from 'ava';
import { observe } from '../../checker/monitor.ts';
import { BlockLab } from '../../support/block-lab.ts';
import { Counting } from '../../support/counting.ts';
import { RawGuest } from '../../support/raw-blkfront.ts';

test('every byte of a request is read once, and so is every byte of its indirect segments', (t) => {
  const monitor = new Counting();
  observe(
    monitor,
    () => true,
    () => {
      const lab = new BlockLab();
      const guest = new RawGuest(lab);
      const page = new DataView(guest.data.bytes.buffer, guest.data.bytes.byteOffset, 4096);
      for (let i = 0; i < 40; i += 1) {
        const gref = guest.dataRefs[1 + (i % 31)] as number;
        blkifSegment.write(page, i * 8, { gref, firstSect: 0, lastSect: 7 });
      }
      guest.stage({ operation: BLKIF_OP_WRITE, segments: guest.dataRefs.slice(1, 12).map((gref) => ({ gref })) });
      guest.stage({ operation: BLKIF_OP_READ, nrSegments: 200 }); // refused, but read no more often for it
      guest.stage({ operation: BLKIF_OP_INDIRECT });
      const at = 64 + 2 * 112;
      blkifRequestIndirect.set.indirectOp(guest.view, at, BLKIF_OP_READ);
      blkifRequestIndirect.set.nrSegments(guest.view, at, 40);
      guest.view.setUint32(at + blkifRequestIndirect.offsets.indirectGrefs, guest.dataRefs[0] as number, true);
      guest.publish();
      monitor.isCounting = true;
      for (let i = 0; i < 20; i += 1) lab.driverKernel.poll();
      monitor.isCounting = false;
      lab.nowMs += 2;
      lab.run();
      t.deepEqual(
        guest
          .answers()
          .map(({ status }) => status)
          .sort((x, y) => x - y), // in any order: a refusal needs no device
        [-1, 0, 0],
      );
      const { buffer, byteOffset } = guest.ring.bytes;
      for (let slot = 0; slot < 3; slot += 1)
        t.is(monitor.most(buffer, byteOffset + 64 + slot * 112, 112), 1, `slot ${slot}`);
      t.is(monitor.most(guest.data.bytes.buffer, guest.data.bytes.byteOffset, 40 * 8), 1, 'indirect segments');
    },
  );
});
