// Round trip of an event between two domains in two threads that sleep, against a bare futex ping-pong.
import { attach, type ControlMessage, type DomainBoot, type EvtchnPort, Hypervisor } from '@splitring/hypervisor';
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import { timeRoundTrips } from '../../ring/round-trips.ts';
import type { HypervisorParams } from '../params.ts';

const OTHER_WORD = 32; // a pair of cache lines further

interface End {
  readonly boot: DomainBoot;
  readonly port: EvtchnPort;
}

interface Shared {
  readonly bare: SharedArrayBuffer;
  readonly front: End;
  readonly back: End;
}

/** One end that can be rung and waited for. */
interface Bell {
  ring(): void;
  await(): void;
}

/** Build two domains and a channel; what their threads need comes back as plain data. */
function share(): Shared {
  const hypervisor = new Hypervisor({ limits: { domains: 32 } });
  const [front, back] = ['front', 'back'].map((name) => {
    const domain = hypervisor.createDomain({ name });
    const kept: ControlMessage[] = [...domain.boot.memory];
    const queue: ControlMessage[] = [];
    const post = hypervisor.connect(domain.domid, {
      post: (message) => {
        queue.push(message);
        if (message.kind !== 'reply') kept.push(message);
      },
    });
    const hypercalls = attach(domain.boot, { post, receive: () => queue.shift() });
    return { domain, hypercalls, boot: () => ({ ...domain.boot, memory: kept }) };
  });
  if (front === undefined || back === undefined) throw new Error('two were made');
  const offered = front.hypercalls.allocUnbound(back.domain.domid);
  const bound = back.hypercalls.bindInterdomain(front.domain.domid, offered);
  return {
    bare: new SharedArrayBuffer(256),
    front: { boot: front.boot(), port: offered },
    back: { boot: back.boot(), port: bound },
  };
}

function eventBell({ boot, port }: End): Bell {
  const hypercalls = attach(boot, { post: () => {}, receive: () => undefined });
  const { words, index } = hypercalls.doorbell;
  const nothing = () => {};
  return {
    ring: () => hypercalls.notify(port),
    await: () => {
      for (;;) {
        const seen = Atomics.load(words, index);
        if (hypercalls.pollEvents(nothing) > 0) return;
        Atomics.wait(words, index, seen);
      }
    },
  };
}

/** Both sides count the same turns, each on its own word. */
function bareBell(buffer: SharedArrayBuffer, own: number, other: number): Bell {
  const words = new Int32Array(buffer);
  let seen = 0;
  return {
    ring: () => {
      Atomics.add(words, other, 1);
      Atomics.notify(words, other);
    },
    await: () => {
      while (Atomics.load(words, own) === seen) Atomics.wait(words, own, seen);
      seen = (seen + 1) | 0;
    },
  };
}

/** The two halves. */
export const pair: PairDefinition<HypervisorParams, Shared> = {
  share,
  front: (shared, { way }) => {
    const bell = way === 'channel' ? eventBell(shared.front) : bareBell(shared.bare, 0, OTHER_WORD);
    return (operations) =>
      timeRoundTrips(operations, () => {
        bell.ring();
        bell.await();
      });
  },
  back: (shared, { way }) => {
    const bell = way === 'channel' ? eventBell(shared.back) : bareBell(shared.bare, OTHER_WORD, 0);
    return (operations) => {
      for (let i = 0; i < operations; i++) {
        bell.await();
        bell.ring();
      }
      return {};
    };
  },
};

/** Open the subject. */
export function open(params: HypervisorParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
