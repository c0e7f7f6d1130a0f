// Bugs that people really make in rings, planted one at a time, and the checks that must find each.
import type { Plant } from './plants.ts';

/** A plant and the names of the checks that find it: exactly these, no more, no fewer. */
export interface CaughtPlant extends Plant {
  readonly caughtBy: readonly string[];
}

/** Every planted bug of the Xen ring, the fixed ring and the byte ring. */
export const RING_PLANTS: readonly CaughtPlant[] = [
  {
    name: 'missed re-check: armed, but not looked again',
    file: 'back-ring.ts',
    find: 'const found = this.loadRequests();\n    return found < 0 || found >= ahead;',
    replace: 'return false;',
    caughtBy: [
      'xenBlocking from 0',
      'xenBlocking from 2^31 - 1',
      'xenBlocking from 2^32 - 1',
      'xenBlocking from 0, weak stores',
      'xenLarger from 0',
      'xenLarger from 2^31 - 1',
      'xenLarger from 2^32 - 1',
      'xenLarger from 0, weak stores',
    ],
  },
  {
    name: 'event read before the producer is stored',
    file: 'front-ring.ts',
    find: 'Atomics.store(this.indexes, REQ_PROD, newProd);\n    this.reqProdShared = newProd;\n    return distance(newProd, Atomics.load(this.indexes, REQ_EVENT)) < distance(newProd, oldProd);',
    replace:
      'const event = Atomics.load(this.indexes, REQ_EVENT);\n    Atomics.store(this.indexes, REQ_PROD, newProd);\n    this.reqProdShared = newProd;\n    return distance(newProd, event) < distance(newProd, oldProd);',
    caughtBy: [
      'xenBlocking from 0',
      'xenBlocking from 2^31 - 1',
      'xenBlocking from 2^32 - 1',
      'xenBlocking from 0, weak stores',
      'xenLarger from 0',
      'xenLarger from 2^31 - 1',
      'xenLarger from 2^32 - 1',
      'xenLarger from 0, weak stores',
    ],
  },
  {
    name: 'producer stored plainly',
    file: 'front-ring.ts',
    find: 'Atomics.store(this.indexes, REQ_PROD, newProd);',
    replace: 'this.indexes[REQ_PROD] = newProd;',
    caughtBy: ['xenBlocking from 0, weak stores', 'xenLarger from 0, weak stores'],
  },
  {
    name: 'notify formula: event must lie strictly before the new producer',
    file: 'back-ring.ts',
    find: 'return distance(newProd, Atomics.load(this.indexes, RSP_EVENT)) < distance(newProd, oldProd);',
    replace:
      'return distance(newProd, Atomics.load(this.indexes, RSP_EVENT)) - 1 < distance(newProd, oldProd) - 1 && newProd !== Atomics.load(this.indexes, RSP_EVENT);',
    caughtBy: [
      'xenBlocking from 0',
      'xenBlocking from 2^31 - 1',
      'xenBlocking from 2^32 - 1',
      'xenBlocking from 0, weak stores',
      'xenLarger from 0',
      'xenLarger from 2^31 - 1',
      'xenLarger from 2^32 - 1',
      'xenLarger from 0, weak stores',
    ],
  },
  {
    name: 'signed compare in the notify formula',
    file: 'front-ring.ts',
    find: 'return distance(newProd, Atomics.load(this.indexes, REQ_EVENT)) < distance(newProd, oldProd);',
    replace: 'const event = Atomics.load(this.indexes, REQ_EVENT);\n    return event > oldProd && event <= newProd;',
    caughtBy: ['xenBlocking from 2^31 - 1', 'xenLarger from 2^31 - 1'],
  },
  {
    name: 'unsigned compare in the notify formula: no notify at the wrap',
    file: 'back-ring.ts',
    find: 'return distance(newProd, Atomics.load(this.indexes, RSP_EVENT)) < distance(newProd, oldProd);',
    replace:
      'const event = Atomics.load(this.indexes, RSP_EVENT) >>> 0;\n    return event > oldProd >>> 0 && event <= newProd >>> 0;',
    caughtBy: ['xenBlocking from 2^32 - 1', 'xenLarger from 2^32 - 1'],
  },
  {
    name: 'event armed at the consumer, not one past it',
    file: 'front-ring.ts',
    find: '(this.rspCons + ahead) | 0',
    replace: '(this.rspCons + ahead - 1) | 0',
    caughtBy: [
      'xenBlocking from 0',
      'xenBlocking from 2^31 - 1',
      'xenBlocking from 2^32 - 1',
      'xenBlocking from 0, weak stores',
      'xenLarger from 0',
      'xenLarger from 2^31 - 1',
      'xenLarger from 2^32 - 1',
      'xenLarger from 0, weak stores',
      'xenBackKilled from 0',
      'xenBackKilled from 2^31 - 1',
      'xenBackKilled from 2^32 - 1',
    ],
  },
  {
    name: 'only the last of a batch published is ever notified',
    file: 'front-ring.ts',
    find: 'return distance(newProd, Atomics.load(this.indexes, REQ_EVENT)) < distance(newProd, oldProd);',
    replace: 'return Atomics.load(this.indexes, REQ_EVENT) === newProd;',
    caughtBy: [
      'xenBlocking from 0',
      'xenBlocking from 2^31 - 1',
      'xenBlocking from 2^32 - 1',
      'xenBlocking from 0, weak stores',
      'xenLarger from 0',
      'xenLarger from 2^31 - 1',
      'xenLarger from 2^32 - 1',
      'xenLarger from 0, weak stores',
      'xenBackKilled from 0',
      'xenBackKilled from 2^31 - 1',
      'xenBackKilled from 2^32 - 1',
    ],
  },
  {
    name: 'request claimed without room',
    file: 'front-ring.ts',
    find: 'if (this.isFull) return -1;',
    replace: 'if (this.outstanding > this.slots) return -1;',
    caughtBy: [
      'xenBlocking from 0',
      'xenBlocking from 2^31 - 1',
      'xenBlocking from 2^32 - 1',
      'xenBlocking from 0, weak stores',
      'xenLarger from 0',
      'xenLarger from 2^31 - 1',
      'xenLarger from 2^32 - 1',
      'xenLarger from 0, weak stores',
    ],
  },
  {
    name: 'own producer taken back from shared memory',
    file: 'front-ring.ts',
    find: 'this.reqProdShared = newProd;\n',
    replace: 'this.reqProdPvt = Atomics.load(this.indexes, REQ_PROD);\n    this.reqProdShared = newProd;\n',
    caughtBy: ['xenHostileBack from 0', 'xenHostileBack from 2^31 - 1', 'xenHostileBack from 2^32 - 1'],
  },
  {
    name: 'response taken twice',
    file: 'front-ring.ts',
    find: 'this.ringSlots.copyOut(index);\n    this.rspCons = (index + 1) | 0;',
    replace:
      'this.ringSlots.copyOut(index);\n    if ((index & 1) === 0) this.rspCons = (index + 1) | 0;\n    else this.rspProdSeen = index;',
    caughtBy: [
      'xenBlocking from 0',
      'xenBlocking from 2^31 - 1',
      'xenBlocking from 2^32 - 1',
      'xenBlocking from 0, weak stores',
      'xenLarger from 0',
      'xenLarger from 2^31 - 1',
      'xenLarger from 2^32 - 1',
      'xenLarger from 0, weak stores',
      'xenBackKilled from 2^31 - 1',
      'xenBackKilled from 2^32 - 1',
      'xenHostileBack from 0',
      'xenHostileBack from 2^31 - 1',
      'xenHostileBack from 2^32 - 1',
    ],
  },
  {
    name: 'response producer not bounded',
    file: 'front-ring.ts',
    find: 'if (unconsumed > published)',
    replace: 'if (unconsumed > 2 ** 32)',
    caughtBy: ['xenHostileBack from 0', 'xenHostileBack from 2^31 - 1', 'xenHostileBack from 2^32 - 1'],
  },
  {
    name: 'response producer bounded by the ring only',
    file: 'front-ring.ts',
    find: 'if (unconsumed > published)',
    replace: 'if (unconsumed > this.slots)',
    caughtBy: ['xenHostileBack from 0', 'xenHostileBack from 2^31 - 1', 'xenHostileBack from 2^32 - 1'],
  },
  {
    name: 'request producer bounded from the consumer, not from the answers',
    file: 'back-ring.ts',
    find: 'if (ahead > this.slots || ahead < taken)',
    replace: 'if (distance(reqProd, this.reqCons) > this.slots)',
    caughtBy: ['xenHostileFront from 0', 'xenHostileFront from 2^31 - 1', 'xenHostileFront from 2^32 - 1'],
  },
  {
    name: 'request index loaded twice: judged once, used once',
    file: 'back-ring.ts',
    find: 'this.reqProdSeen = reqProd;',
    replace: 'this.reqProdSeen = Atomics.load(this.indexes, REQ_PROD);',
    caughtBy: ['xenHostileFront from 0', 'xenHostileFront from 2^31 - 1', 'xenHostileFront from 2^32 - 1'],
  },
  {
    name: 'torn slot: published before it is written',
    file: 'fixed-producer.ts',
    find: 'this.ring.copyPlace(source, slot, place);\n    this.stageOne(index);',
    replace: 'this.stageOne(index);\n    this.ring.copyPlace(source, slot, place);',
    caughtBy: [
      'fixedStream from 0',
      'fixedStream from 2^31 - 1',
      'fixedStream from 2^32 - 1',
      'fixedStream from 0, weak stores',
      'fixedBatched from 0',
      'fixedBatched from 2^31 - 1',
      'fixedBatched from 2^32 - 1',
      'fixedBatched from 0, weak stores',
      'fixedProducerKilled from 0',
      'fixedProducerKilled from 2^31 - 1',
      'fixedProducerKilled from 2^32 - 1',
    ],
  },
  {
    name: 'torn slot: given back before it is read',
    file: 'fixed-consumer.ts',
    find: 'into.copyPlace(this.ring, place, slot);\n    this.consumeOne(index);',
    replace: 'this.consumeOne(index);\n    into.copyPlace(this.ring, place, slot);',
    caughtBy: [
      'fixedStream from 0',
      'fixedStream from 2^31 - 1',
      'fixedStream from 2^32 - 1',
      'fixedStream from 0, weak stores',
      'fixedProducerKilled from 0',
      'fixedProducerKilled from 2^31 - 1',
      'fixedProducerKilled from 2^32 - 1',
    ],
  },
  {
    name: 'room for one more than there is',
    file: 'fixed-producer.ts',
    find: 'this.limit = (cons + this.slots) | 0;',
    replace: 'this.limit = (cons + this.slots + 1) | 0;',
    caughtBy: [
      'fixedStream from 0',
      'fixedStream from 2^31 - 1',
      'fixedStream from 2^32 - 1',
      'fixedStream from 0, weak stores',
      'fixedBatched from 0',
      'fixedBatched from 2^31 - 1',
      'fixedBatched from 2^32 - 1',
      'fixedBatched from 0, weak stores',
      'fixedMany from 0',
      'fixedMany from 2^31 - 1',
      'fixedMany from 2^32 - 1',
      'fixedMany from 0, weak stores',
      'fixedProducerKilled from 0',
      'fixedProducerKilled from 2^31 - 1',
      'fixedProducerKilled from 2^32 - 1',
    ],
  },
  {
    name: 'a batch at the seam: its second part not copied',
    file: 'fixed-producer.ts',
    find: '    this.ring.copyPlaces(source, first + straight, 0, sent - straight);\n',
    replace: '',
    caughtBy: ['fixedMany from 2^31 - 1', 'fixedMany from 2^32 - 1'],
  },
  {
    name: 'torn batch: given back before it is read',
    file: 'fixed-consumer.ts',
    find: '    const straight = Math.min(received, this.slots - place);\n',
    replace:
      '    this.cons = (index + received) | 0;\n    this.giveBack();\n    const straight = Math.min(received, this.slots - place);\n',
    caughtBy: [
      'fixedMany from 0',
      'fixedMany from 2^31 - 1',
      'fixedMany from 2^32 - 1',
      'fixedMany from 0, weak stores',
    ],
  },
  {
    name: 'a batch larger than what is published is taken whole',
    file: 'fixed-consumer.ts',
    find: 'const received = Math.min(count, (this.prodSeen - index) | 0);',
    replace: 'const received = Math.min(count, this.slots);',
    caughtBy: [
      'fixedMany from 0',
      'fixedMany from 2^31 - 1',
      'fixedMany from 2^32 - 1',
      'fixedMany from 0, weak stores',
    ],
  },
  {
    name: "resume from the consumer: the dead producer's messages are overwritten",
    file: 'fixed-producer.ts',
    find: 'this.prod = Atomics.load(this.prodWord, 0);',
    replace: 'this.prod = Atomics.load(this.consWord, 0);',
    caughtBy: ['fixedProducerKilled from 0', 'fixedProducerKilled from 2^31 - 1', 'fixedProducerKilled from 2^32 - 1'],
  },
  {
    name: 'masked before compared: full looks empty',
    file: 'byte-ring.ts',
    find: 'const bytes = isProducer ? distance(this.own, peer) : distance(peer, this.own);',
    replace:
      'const mask = this.sizeBytes - 1;\n    const bytes = (isProducer ? distance(this.own, peer) : distance(peer, this.own)) & mask;',
    caughtBy: [
      'byteStream from 0',
      'byteStream from 2^31 - 1',
      'byteStream from 2^32 - 1',
      'byteStream from 0, weak stores',
    ],
  },
  {
    name: 'second chunk at the seam forgotten',
    file: 'byte-ring.ts',
    find: 'if (first < count) this.data.set(bytes.subarray(first, count), 0);',
    replace: '',
    caughtBy: ['byteStream from 2^31 - 1', 'byteStream from 2^32 - 1'],
  },
  {
    name: 'bytes given back before they are read',
    file: 'byte-ring.ts',
    find: 'into.set(this.data.subarray(at, at + first));',
    replace:
      'if (count > 0) this.publish(count);\n    into.set(this.data.subarray(at, at + first));\n    if (count > 0) this.own = (this.own - count) | 0;',
    caughtBy: [
      'byteStream from 0',
      'byteStream from 2^31 - 1',
      'byteStream from 2^32 - 1',
      'byteStream from 0, weak stores',
    ],
  },
];

/** Plants and what finds them, as the tables in README.md. */
export function plantTable(plants: readonly CaughtPlant[]): string {
  const rows = plants.map(({ name, file, caughtBy }) => `| ${name} | \`${file}\` | ${summary(caughtBy)} |`);
  return ['| planted bug | in | found by |', '| --- | --- | --- |', ...rows].join('\n');
}

/** `scenario: start, start; scenario: …` */
function summary(checks: readonly string[]): string {
  const starts = new Map<string, string[]>();
  for (const check of checks) {
    const [scenario = '', start = ''] = check.split(' from ');
    starts.set(scenario, [...(starts.get(scenario) ?? []), start.replace('0, weak stores', 'weak stores')]);
  }
  return [...starts].map(([scenario, list]) => `\`${scenario}\`: ${list.join(', ')}`).join('; ');
}
