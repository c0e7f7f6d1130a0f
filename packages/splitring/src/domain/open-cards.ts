// The network cards of a driver domain: card model, native driver and cable of each, on this thread's PCI bus.
import { Bridge, CardUplink, Uplink } from '@splitring/backend';
import {
  type Cable,
  createCable,
  EmbeddedSwitch,
  type EthernetWire,
  Nic82576,
  NicDriver,
  type WireEnd,
} from '@splitring/device';
import type { DomainHypercalls, DomainKernel, PciBus } from '@splitring/hypervisor';
import { InvariantError } from 'sharedarraybuffer-ring';
import { SeededRandom } from '../simulation/seeded.ts';
import type { CableBoot, CardBoot } from './thread-boot.ts';

/** Longest frame that cards take: a page of payload, so that neither side has to agree on less. */
const MAX_FRAME_BYTES = 1522;

/** Cards and cables of a driver domain; its kernel polls them. */
export class OpenCards {
  /** Bridges beyond the cables' far ends, by name: uplinks go on from there. */
  readonly outside = new Map<string, Bridge>();
  readonly #kernel: DomainKernel;
  readonly #hypercalls: DomainHypercalls;
  readonly #bus: PciBus;

  /** Plug in all cards. @throws HypercallError when memory is short */
  constructor(
    cables: readonly CableBoot[],
    bridges: ReadonlyMap<string, Bridge>,
    thread: { readonly kernel: DomainKernel; readonly hypercalls: DomainHypercalls; readonly bus: PciBus },
  ) {
    this.#kernel = thread.kernel;
    this.#hypercalls = thread.hypercalls;
    this.#bus = thread.bus;
    for (const { near, far, faults, seed } of cables) {
      const cable: Cable = createCable(thread.kernel.clock, new SeededRandom(seed));
      cable.setFaults(faults);
      const inner = near.length > 1 ? new EmbeddedSwitch(cable.ends[0]) : undefined;
      for (const card of near) this.#plug(card, inner?.port() ?? cable.ends[0], bridges);
      if ('outside' in far) this.#leadOut(far.outside, cable.ends[1]);
      else this.#plug(far, cable.ends[1], bridges);
    }
  }

  /** A function of a card: model, driver, port of a bridge. */
  #plug(card: CardBoot, wire: EthernetWire, bridges: ReadonlyMap<string, Bridge>): void {
    const bridge = bridges.get(card.bridge);
    if (bridge === undefined) {
      throw new InvariantError('NO_BRIDGE', `Cannot plug a card into bridge ${card.bridge}: there is none`);
    }
    const { clock } = this.#kernel;
    this.#bus.plug(card.routingId, (master) => new Nic82576(master, { mac: card.mac, wire, clock }));
    const driver = new NicDriver(this.#kernel, this.#hypercalls.pci.open(card.routingId), {
      isPromiscuous: true,
      maxFrameBytes: MAX_FRAME_BYTES,
      queuePairs: card.queuePairs,
    });
    this.#kernel.add(driver);
    new CardUplink(card.name, bridge, this.#kernel, driver, card.lane);
  }

  /** The far end of a cable that leaves the machine: a small bridge, on which the uplinks are ports. */
  #leadOut(name: string, wire: WireEnd): void {
    const bridge = new Bridge(name, this.#kernel.clock);
    const carry = (frame: Uint8Array) => {
      wire.send(frame);
      return wire.hasCarrier;
    };
    const end = new Uplink(`${name} cable`, bridge, this.#kernel, carry, { isLocal: true });
    wire.onFrame = (frame) => end.input(frame);
    this.#kernel.add({ poll: () => wire.poll(), deadlineMs: () => wire.deadlineMs() });
    this.#kernel.add(bridge, 'control');
    this.outside.set(name, bridge);
  }
}
