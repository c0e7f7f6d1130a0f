// What a block back end must do on the ring, told by a front end that writes every byte itself: the split model's suite.
import { BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY } from '@splitring/hypervisor/io';
import type { RawGuest } from '../support/raw-blkfront.ts';

/** One rule: a sentence, and a check that throws if it does not hold. */
export interface RingRule {
  readonly name: string;
  check(guest: RawGuest): void;
}

function expect(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what);
}

/** Needs a connected raw guest on a writable disk of at least 1 MiB. */
export const BLKIF_RING_RULES: readonly RingRule[] = [
  {
    name: 'an answer repeats id and operation, whatever the id',
    check: (guest) => {
      for (const id of [0, 1, 0xffff_ffff]) {
        guest.stage({ id, operation: 1 });
        guest.publish();
        guest.run();
        const [answer] = guest.answers();
        expect(answer?.id === id && answer.operation === 1 && answer.status === BLKIF_RSP_OKAY, `id ${id}`);
      }
    },
  },
  {
    name: 'a full ring is answered to the last request',
    check: (guest) => {
      for (let i = 0; i < guest.slots; i += 1) guest.stage({ id: i + 100, sectorNumber: (i % 64) * 8 });
      guest.publish();
      guest.run();
      const ids = guest.answers().map(({ id }) => id);
      expect(new Set(ids).size === guest.slots, `${ids.length} answers to ${guest.slots} requests`);
    },
  },
  {
    name: 'segments within pages arrive at the right sectors',
    check: (guest) => {
      const gref = (page: number) => guest.dataRefs[page] as number;
      for (let page = 0; page < 3; page += 1) guest.data.bytes.fill(page + 1, page * 4096, (page + 1) * 4096);
      const segments = [
        { gref: gref(0), firstSect: 6, lastSect: 7 },
        { gref: gref(1), firstSect: 2, lastSect: 4 },
        { gref: gref(2), firstSect: 0, lastSect: 0 },
      ];
      expect(guest.ask({ operation: 1, segments }) === BLKIF_RSP_OKAY, 'the write fails');
      guest.data.bytes.fill(0);
      const page = [{ gref: gref(5) }];
      expect(guest.ask({ operation: 0, segments: page }) === BLKIF_RSP_OKAY, 'the read fails');
      const sectors = Array.from({ length: 6 }, (_, i) => guest.data.bytes[5 * 4096 + i * 512]);
      expect(sectors.join() === '1,1,2,2,2,3', `the sectors hold ${sectors}`);
    },
  },
  {
    name: 'a flush carries no segment, a read and a write carry one at least',
    check: (guest) => {
      expect(guest.ask({ operation: 3, segments: [] }) === BLKIF_RSP_OKAY, 'a flush fails');
      expect(guest.ask({ operation: 0, segments: [] }) === BLKIF_RSP_ERROR, 'an empty read is taken');
      expect(guest.ask({ operation: 1, segments: [] }) === BLKIF_RSP_ERROR, 'an empty write is taken');
    },
  },
  {
    name: 'a barrier with data is answered after all before it and before all after it',
    check: (guest) => {
      guest.stage({ id: 1, operation: 1, sectorNumber: 0 });
      guest.stage({ id: 2, operation: 2, sectorNumber: 8 });
      guest.stage({ id: 3, operation: 1, sectorNumber: 16 });
      guest.publish();
      guest.run();
      const answers = guest.answers();
      const isOkay = answers.every(({ status }) => status === BLKIF_RSP_OKAY);
      expect(isOkay && answers.map(({ id }) => id).join() === '1,2,3', JSON.stringify(answers));
    },
  },
  {
    name: 'what is not known is answered so, and the next request is served',
    check: (guest) => {
      expect(guest.ask({ operation: 77 }) === BLKIF_RSP_EOPNOTSUPP, 'an unknown operation');
      expect(guest.ask({}) === BLKIF_RSP_OKAY, 'the request after it');
    },
  },
];
