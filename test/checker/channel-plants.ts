// Bugs that people make in message channels, planted one at a time; each must be found by one of the channel's scenarios.
import type { Plant } from './plants.ts';

/** A plant and the check of `test/unit/checker/channel.test.ts` that finds it. */
export interface ChannelPlant extends Plant {
  readonly caughtBy: string;
}

/** Every planted bug of the channel. */
export const CHANNEL_PLANTS: readonly ChannelPlant[] = [
  {
    name: 'late doorbell sample: after the final check',
    file: 'channel-end.ts',
    find: 'const seen = Atomics.load(control, bell); // sample, arm, look again, sleep: in this order no wake-up is lost\n      this.arm();\n      if (this.isReady()) return true;\n',
    replace: 'this.arm();\n      if (this.isReady()) return true;\n      const seen = Atomics.load(control, bell);\n',
    caughtBy: 'stream from 0',
  },
  {
    name: 'missed re-check: armed, but not looked again',
    file: 'channel-end.ts',
    find: 'if (this.isReady()) return true;\n      strategy.wait(',
    replace: 'strategy.wait(',
    caughtBy: 'stream from 0',
  },
  {
    name: 'event read before the tail is stored',
    file: 'sync-sender.ts',
    find: 'Atomics.store(this.control, this.lane.base + TAIL, next);\n    this.tail = next;\n    const event = Atomics.load(this.control, this.lane.base + DATA_EVENT);',
    replace:
      'const event = Atomics.load(this.control, this.lane.base + DATA_EVENT);\n    Atomics.store(this.control, this.lane.base + TAIL, next);\n    this.tail = next;',
    caughtBy: 'stream from 0',
  },
  {
    name: 'unsigned compare in the notify formula: no notify at the wrap',
    file: 'sync-sender.ts',
    find: 'if (distance(next, event) < distance(next, old)) this.ring(BELL);',
    replace: 'if (event >>> 0 > old >>> 0 && event >>> 0 <= next >>> 0) this.ring(BELL);',
    caughtBy: 'stream from -48',
  },
  {
    name: 'signed compare in the notify formula',
    file: 'sync-sender.ts',
    find: 'if (distance(next, event) < distance(next, old)) this.ring(BELL);',
    replace: 'if (event > old && event <= next) this.ring(BELL);',
    caughtBy: 'stream from 2147483616',
  },
  {
    name: 'bell changed without a wake-up',
    file: 'channel-end.ts',
    find: '    this.strategy.wake(this.control, bell);\n',
    replace: '',
    caughtBy: 'stream from 0',
  },
  {
    name: 'claim without room at end and start',
    file: 'sync-sender.ts',
    find: ': size + toEnd <= free;',
    replace: ': size <= free;',
    caughtBy: 'stream from 0',
  },
  {
    name: 'padding skipped by one record header only',
    file: 'channel-receiver-lane.ts',
    find: 'this.head = (this.head + toEnd) | 0;',
    replace: 'this.head = (this.head + 8) | 0;',
    caughtBy: 'stream from -48',
  },
  {
    name: 'asks for room that never comes',
    file: 'sync-sender.ts',
    find: '(this.stage + padding + this.wanted - this.capacity) | 0',
    replace: '(this.stage + padding + this.wanted + 16 - this.capacity) | 0',
    caughtBy: 'stream from -48',
  },
  {
    name: 'torn message: given back before it is copied',
    file: 'sync-receiver.ts',
    find: 'lane.copyFresh(lane.at, lane.length, message);\n    this.consume();',
    replace: 'this.consume();\n    this.release();\n    lane.copyFresh(lane.at, lane.length, message);',
    caughtBy: 'stream from -48',
  },
  {
    name: 'torn message: published before it is written',
    file: 'sync-sender.ts',
    find: 'this.lane.copyIn(at + RECORD_HEADER_BYTES, bytes);\n    this.stageRecord(at, bytes.length, tag);',
    replace: 'this.stageRecord(at, bytes.length, tag);\n    this.lane.copyIn(at + RECORD_HEADER_BYTES, bytes);',
    caughtBy: 'stream from 0',
  },
  {
    name: 'double consume: a message is not left behind',
    file: 'channel-receiver-lane.ts',
    find: 'const head = (this.head + ((this.length + 15) & ~7)) | 0;',
    replace:
      'const head = this.length === 16 && this.released === this.head ? this.head : (this.head + ((this.length + 15) & ~7)) | 0;',
    caughtBy: 'stream from 0',
  },
  {
    name: 'ending looked at, messages before it not looked for again',
    file: 'sync-receiver.ts',
    find: 'if (ending === undefined || this.peek()) return false;',
    replace: 'if (ending === undefined) return false;',
    caughtBy: 'sender dies',
  },
  {
    name: 'death written, nobody woken',
    file: 'channel-death.ts',
    find: '    ringBell(control, at + END_BELL);\n',
    replace: '',
    caughtBy: 'sender dies',
  },
  {
    name: 'successor starts where the receiver is, over unread messages',
    file: 'sync-sender.ts',
    find: 'this.tail = Atomics.load(control, this.lane.base + TAIL);',
    replace: 'this.tail = Atomics.load(control, this.lane.base + HEAD);',
    caughtBy: 'sender resumes',
  },
  {
    name: 'sender of a dead receiver never looks at its state',
    file: 'sync-sender.ts',
    find: 'this.receiverSeen = -1;',
    replace: 'this.receiverSeen = control[RECEIVER_STATE] as number;',
    caughtBy: 'receiver dies',
  },
  {
    name: 'the channel ends while a producer has not come yet',
    file: 'sync-receiver.ts',
    find: 'if (ending === undefined) return undefined;',
    replace:
      'if (ending === undefined && stateOf(Atomics.load(this.control, stateAt)) === END_OPEN) return undefined;\n      if (ending === undefined) continue;',
    caughtBy: 'one of two dies',
  },
  {
    name: 'a closed lane is taken before one that was never used',
    file: 'channel.ts',
    find: 'for (const mayReuse of [false, true])',
    replace: 'for (const mayReuse of [true])',
    caughtBy: 'one of two dies',
  },
];
