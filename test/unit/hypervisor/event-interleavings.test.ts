// Every interleaving of raising, collecting, sleeping, binding and closing, at every access to shared memory.
import {
  attach,
  type ControlMessage,
  type Domain,
  type DomainBoot,
  type DomainHypercalls,
  type EvtchnPort,
  Hypervisor,
  PORT,
} from '@splitring/hypervisor';
import test from 'ava';
import { explore, type Probe, type Scenario } from '../../checker/explore.ts';

interface World {
  readonly sender: DomainBoot;
  readonly receiver: DomainBoot;
  /** Sender's ports, bound to the receiver's of the same index. */
  readonly from: readonly EvtchnPort[];
  readonly to: readonly EvtchnPort[];
}

const LIMITS = { domains: 32, portsPerDomain: 32, grantFrames: 1, maptrackFrames: 1, extents: 1 + 31 };

/** A domain as its thread would have it, without a builder behind it. */
function open(boot: DomainBoot): DomainHypercalls {
  return attach(boot, { post: () => {}, receive: () => undefined });
}

/** Boot data that holds all that has been handed over so far. */
function withMemory(hypervisor: Hypervisor, domain: Domain): { boot: () => DomainBoot; live: DomainHypercalls } {
  const memory: ControlMessage[] = [...domain.boot.memory];
  const queue: ControlMessage[] = [];
  const serve = hypervisor.connect(domain.domid, {
    post: (message) => {
      memory.push(message);
      queue.push(message);
    },
  });
  const live = attach(domain.boot, { post: serve, receive: () => queue.shift() });
  return { boot: () => ({ ...domain.boot, memory: memory.filter((one) => one.kind !== 'reply') }), live };
}

function setup(channels: number): { buffers: SharedArrayBuffer[]; world: World } {
  const hypervisor = new Hypervisor({ limits: LIMITS });
  const sender = withMemory(hypervisor, hypervisor.createDomain({ name: 'sender' }));
  const receiver = withMemory(hypervisor, hypervisor.createDomain({ name: 'receiver' }));
  const to: EvtchnPort[] = [];
  const from: EvtchnPort[] = [];
  for (let i = 0; i < channels; i++) {
    const port = receiver.live.allocUnbound(sender.live.domid);
    to.push(port);
    from.push(sender.live.bindInterdomain(receiver.live.domid, port));
  }
  const world = { sender: sender.boot(), receiver: receiver.boot(), from, to };
  const pages = world.sender.memory.filter((one) => one.kind === 'event-page').map((page) => page.buffer);
  return { buffers: [world.sender.tables, ...pages], world };
}

/** Sleep as the idle loop does until `wanted` events have come; report each. */
function receive(world: World, wanted: number, probe: Probe): void {
  const hypercalls = open(world.receiver);
  const { words, index } = hypercalls.doorbell;
  for (let got = 0; got < wanted; ) {
    const seen = Atomics.load(words, index);
    const now = hypercalls.pollEvents((port) => probe.report(port));
    got += now;
    if (now === 0) Atomics.wait(words, index, seen, 1000);
  }
}

test('an event between two threads is never lost, whatever the order of steps', (t) => {
  const scenario: Scenario<World> = {
    setup: () => setup(2),
    ends: [
      {
        name: 'sender',
        run: (world) => {
          const hypercalls = open(world.sender);
          for (const port of world.from) hypercalls.notify(port);
        },
      },
      { name: 'receiver', run: (world, probe) => receive(world, 2, probe) },
    ],
    check: ({ ends }) => (ends['receiver']?.status === 'done' ? undefined : 'the receiver sleeps on'),
    preemptions: 3,
  };
  const found = explore(scenario);
  t.is(found.violation, undefined, `${found.violation?.message}\n${found.violation?.schedule.join('\n')}`);
  t.true(found.isComplete);
  t.log(`${found.states} states, ${found.rests} ends`);
});

/** Kinds of the two ends after everything came to rest. */
function kinds(world: World, to: EvtchnPort, from: EvtchnPort): string {
  const kindOf = (boot: DomainBoot, port: EvtchnPort) => open(boot).portStatus(port).kind;
  return `${kindOf(world.receiver, to)} ${kindOf(world.sender, from)}`;
}

/** Two ends that change a binding at once, and the states in which it may end: kind of the offering end, of the other. */
const RACES: readonly {
  readonly name: string;
  readonly isBound: boolean;
  readonly sender: (hypercalls: DomainHypercalls, world: World) => void;
  readonly receiver: (hypercalls: DomainHypercalls, world: World) => void;
  readonly allowed: readonly string[];
}[] = [
  {
    name: 'closing a port while the other end binds to it',
    isBound: false,
    sender: (hypercalls, world) => {
      try {
        hypercalls.bindInterdomain(world.receiver.domid, world.to[0] as EvtchnPort);
      } catch {
        // closed before: refused
      }
    },
    receiver: (hypercalls, world) => hypercalls.closePort(world.to[0] as EvtchnPort),
    allowed: [`${PORT.closed} ${PORT.closed}`, `${PORT.closed} ${PORT.unbound}`],
  },
  {
    name: 'closing both ends at once',
    isBound: true,
    sender: (hypercalls, world) => hypercalls.closePort(world.from[0] as EvtchnPort),
    receiver: (hypercalls, world) => hypercalls.closePort(world.to[0] as EvtchnPort),
    // One end closed and the other turned unbound and closed, in any order.
    allowed: [`${PORT.closed} ${PORT.closed}`],
  },
  {
    name: 'closing an end while the other raises it',
    isBound: true,
    sender: (hypercalls, world) => hypercalls.notify(world.from[0] as EvtchnPort),
    receiver: (hypercalls, world) => hypercalls.closePort(world.to[0] as EvtchnPort),
    allowed: [`${PORT.closed} ${PORT.unbound}`],
  },
];

for (const race of RACES) {
  test(`${race.name} ends in order, whatever the order of steps`, (t) => {
    const found = explore<World>({
      setup: () => {
        const made = setup(1);
        if (!race.isBound) open(made.world.sender).closePort(made.world.from[0] as EvtchnPort);
        return made;
      },
      ends: [
        { name: 'sender', run: (world) => race.sender(open(world.sender), world) },
        { name: 'receiver', run: (world) => race.receiver(open(world.receiver), world) },
      ],
      check: ({ world, ends }) => {
        if (ends['sender']?.status !== 'done' || ends['receiver']?.status !== 'done') return 'somebody does not end';
        const seen = kinds(world, world.to[0] as EvtchnPort, world.from[0] as EvtchnPort); // the lowest free port again
        return race.allowed.includes(seen) ? undefined : `ended as ${seen}`;
      },
      preemptions: 4,
    });
    t.is(found.violation, undefined, `${found.violation?.message}\n${found.violation?.schedule.join('\n')}`);
    t.true(found.isComplete);
  });
}
