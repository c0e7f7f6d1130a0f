// Turns the configured uplinks of a driver domain into what its thread opens: sockets, cards and cables.
import type { RoutingId } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { CableBoot, CardBoot, UplinkBoot } from '../domain/thread-boot.ts';
import type { CheckedCard, CheckedUplink } from './config.ts';

const PLAIN_CARD: CheckedCard = { queues: 1, faults: {}, seed: 1 };

/** What a driver domain's uplinks need. */
export interface UplinkPlan {
  readonly uplinks: readonly UplinkBoot[];
  readonly cables: readonly CableBoot[];
}

/**
 * Plan the uplinks of one driver domain.
 *
 * @param allocate gives each card its PCI function
 * @throws SplitringError NO_SUCH_BRIDGE for a cable to a bridge that the domain does not have
 */
export function planUplinks(
  uplinks: readonly CheckedUplink[],
  bridges: readonly string[],
  allocate: () => RoutingId,
): UplinkPlan {
  const sockets: UplinkBoot[] = [];
  const cables: CableBoot[] = [];
  const plug = (bridge: string, card: CheckedCard): CardBoot => {
    if (!bridges.includes(bridge)) throw noBridge(bridge, bridges);
    const routingId = allocate();
    // Locally administered; unique within the machine, as its function is.
    const mac = Uint8Array.of(2, 0x82, 0x57, 0x60, routingId >>> 8, routingId & 0xff);
    return { name: `${bridge} card ${cables.length}`, bridge, routingId, mac, queuePairs: card.queues };
  };
  for (const [index, uplink] of uplinks.entries()) {
    const card = uplink.card ?? PLAIN_CARD;
    const { faults, seed } = card;
    if ('to' in uplink) {
      cables.push({ near: plug(uplink.bridge, card), far: plug(uplink.to, card), faults: present(faults), seed });
    } else if (uplink.card === undefined) {
      sockets.push({ ...uplink, index });
    } else {
      const outside = `${uplink.bridge}-outside-${cables.length}`;
      cables.push({ near: plug(uplink.bridge, card), far: { outside }, faults: present(faults), seed });
      sockets.push({ ...uplink, index, bridge: outside });
    }
  }
  return { uplinks: sockets, cables };
}

/** The faults that are set. */
function present(faults: CheckedCard['faults']): CableBoot['faults'] {
  return Object.fromEntries(Object.entries(faults).filter(([, value]) => value !== undefined));
}

function noBridge(name: string, bridges: readonly string[]): SplitringError {
  const there = bridges.join(', ') || 'none';
  return new SplitringError('NO_SUCH_BRIDGE', `Cannot plug a card into bridge ${name}: there is ${there}`, { name });
}
