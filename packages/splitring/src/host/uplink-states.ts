// The uplinks of all driver domains as the host sees them: a driver domain leaves the reason of a loss in the xenstore.
import type { DomId } from '@splitring/hypervisor';
import { uplinkErrorNode } from '../domain/thread-boot.ts';
import type { CheckedUplink } from './config.ts';
import type { Toolstack } from './toolstack.ts';

/** One uplink of a driver domain. */
export interface UplinkState {
  /** The driver domain's name. */
  readonly driverDomain: string;
  /** Its position among that domain's `uplinks`. */
  readonly index: number;
  /** The bridge that it leads out of. */
  readonly bridge: string;
  /** Whether its peer is there. A socket that waits for peers, and VXLAN, which cannot tell, are always up. */
  readonly isUp: boolean;
  /** Why it is down. */
  readonly reason: string | undefined;
}

/** Follows the uplinks of driver domains. */
export class UplinkStates {
  readonly #toolstack: Toolstack;
  readonly #onChange: (state: UplinkState) => void;
  readonly #states = new Map<DomId, UplinkState[]>();

  /** `onChange` is told of every uplink that goes down, and of those that come back. */
  constructor(toolstack: Toolstack, onChange: (state: UplinkState) => void) {
    this.#toolstack = toolstack;
    this.#onChange = onChange;
  }

  /** All uplinks now. */
  list(): readonly UplinkState[] {
    return [...this.#states.values()].flat();
  }

  /** Follow a driver domain's uplinks until `end` resolves; then they are down. */
  follow(
    domain: { readonly domid: DomId; readonly name: string },
    uplinks: readonly CheckedUplink[],
    end: Promise<unknown>,
  ): void {
    const { domid, name } = domain;
    const states = uplinks.map(
      ({ bridge }, index): UplinkState => ({ driverDomain: name, index, bridge, isUp: true, reason: undefined }),
    );
    this.#states.set(domid, states);
    const set = (index: number, reason: string | undefined) => {
      const before = states[index] as UplinkState; // one for each uplink
      if (before.reason === reason) return;
      const after = { ...before, isUp: reason === undefined, reason };
      states[index] = after;
      this.#onChange(after);
    };
    const watches = uplinks.map((_, index) =>
      this.#toolstack.watchNode(`/local/domain/${domid}/${uplinkErrorNode(index)}`, (text) => set(index, text)),
    );
    void end.then(() => {
      for (const endWatch of watches) endWatch();
      for (const index of states.keys()) set(index, `driver domain ${name} has ended`);
      this.#states.delete(domid); // its number is used again
    });
  }
}
