// Turns the configured uplinks of a driver domain into what its thread opens: sockets, cards and cables.
import { formatRoutingId, type RoutingId } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { CableBoot, CardBoot, LaneBoot, UplinkBoot } from '../domain/thread-boot.ts';
import type { CheckedCard, CheckedUplink } from './config.ts';

const PLAIN_CARD: CheckedCard = { queues: 1, faults: {}, seed: 1 };
/** Functions of one PCI device. */
const MAX_FUNCTIONS = 8;

/** What a driver domain's uplinks need. */
export interface UplinkPlan {
  readonly uplinks: readonly UplinkBoot[];
  readonly cables: readonly CableBoot[];
  /** The PCI functions of all cards. */
  readonly functions: readonly RoutingId[];
}

/** A card in the making. */
interface Card {
  readonly device: RoutingId;
  readonly functions: CardBoot[];
}

/**
 * Plan the uplinks of one driver domain.
 *
 * @param allocate gives each card the first function of a PCI device; the others follow it
 * @throws SplitringError NO_SUCH_BRIDGE for a card in a bridge that the domain does not have; BAD_CONFIG for a card that
 * is not there or has no function left, and for ways that close a ring of bridges, in which a broadcast never ends
 */
export function planUplinks(
  uplinks: readonly CheckedUplink[],
  bridges: readonly string[],
  allocate: () => RoutingId,
): UplinkPlan {
  const sockets: UplinkBoot[] = [];
  const cables: CableBoot[] = [];
  const cards = new Map<string, Card>();
  const networks = new Networks();
  const functions: RoutingId[] = [];
  const add = (card: Card, bridge: string, queuePairs: number, lane: LaneBoot): void => {
    if (!bridges.includes(bridge)) throw noBridge(bridge, bridges);
    const routingId = (card.device + card.functions.length) as RoutingId; // below eight: of the same device
    // Locally administered; unique within the machine, as its function is.
    const mac = Uint8Array.of(2, 0x82, 0x57, 0x60, routingId >>> 8, routingId & 0xff);
    const name = `${bridge} card ${formatRoutingId(routingId)}`;
    card.functions.push({ name, bridge, routingId, mac, queuePairs, lane });
    functions.push(routingId);
  };
  const make = (bridge: string, { queues }: CheckedCard, lane: LaneBoot): Card => {
    const made: Card = { device: allocate(), functions: [] };
    add(made, bridge, queues, lane);
    return made;
  };
  for (const [index, uplink] of uplinks.entries()) {
    if ('functionOf' in uplink) continue;
    const { bridge } = uplink;
    if (!('to' in uplink) && uplink.card === undefined) {
      sockets.push({ ...uplink, index, lane: laneOf(uplink) });
      continue;
    }
    const card = uplink.card ?? PLAIN_CARD;
    const near = make(bridge, card, laneOf(uplink));
    if (card.name !== undefined) {
      if (cards.has(card.name)) throw bad(`two cards are named "${card.name}": rename one`);
      cards.set(card.name, near);
    }
    const outside = `${bridge}-outside-${cables.length}`;
    if ('to' in uplink) networks.join(bridge, uplink.to);
    else sockets.push({ ...uplink, index, bridge: outside, lane: {} }); // the card has tagged the frames
    const far = 'to' in uplink ? make(uplink.to, card, laneOf(uplink)).functions[0] : undefined;
    cables.push({ near: near.functions, far: far ?? { outside }, faults: present(card.faults), seed: card.seed });
  }
  for (const uplink of uplinks) {
    if (!('functionOf' in uplink)) continue;
    const card = cards.get(uplink.functionOf);
    if (card === undefined) {
      throw bad(`there is no card "${uplink.functionOf}": there is ${[...cards.keys()].join(', ') || 'none'}`);
    }
    if (card.functions.length === MAX_FUNCTIONS) throw bad(`card "${uplink.functionOf}" has no function left`);
    const [first] = card.functions;
    add(card, uplink.bridge, uplink.queues, laneOf(uplink));
    if (first !== undefined) networks.join(first.bridge, uplink.bridge);
  }
  return { uplinks: sockets, cables, functions };
}

/** Which bridges are one network already. */
class Networks {
  readonly #root = new Map<string, string>();

  /** Join two bridges. @throws SplitringError BAD_CONFIG if they are joined */
  join(one: string, other: string): void {
    const [a, b] = [this.#find(one), this.#find(other)];
    if (a === b) throw bad(`bridges ${one} and ${other} are joined twice: a broadcast would go round for ever`);
    this.#root.set(a, b);
  }

  #find(bridge: string): string {
    const above = this.#root.get(bridge);
    return above === undefined ? bridge : this.#find(above);
  }
}

/** Where an uplink, at both ends if it leads to another bridge, lies among the VLANs. */
function laneOf({ vlan, trunk }: CheckedUplink): LaneBoot {
  if (trunk && vlan !== undefined) throw bad(`an uplink is in VLAN ${vlan} or a trunk of all of them, not both`);
  if (trunk) return { isTrunk: true };
  return vlan === undefined ? {} : { vlan };
}

/** The faults that are set. */
function present(faults: CheckedCard['faults']): CableBoot['faults'] {
  return Object.fromEntries(Object.entries(faults).filter(([, value]) => value !== undefined));
}

function bad(why: string): SplitringError {
  return new SplitringError('BAD_CONFIG', `Cannot create the host: driverDomains: uplinks: ${why}`);
}

function noBridge(name: string, bridges: readonly string[]): SplitringError {
  const there = bridges.join(', ') || 'none';
  return new SplitringError('NO_SUCH_BRIDGE', `Cannot plug a card into bridge ${name}: there is ${there}`, { name });
}
