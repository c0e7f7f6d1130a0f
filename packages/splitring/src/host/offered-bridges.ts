// The bridges that guests' cards can be ports of: which driver domain has them, and whose the addresses on them are.
import type { Random } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { CheckedNic } from './config.ts';
import { nicKeys } from './device-keys.ts';
import type { RunningGuest } from './domain.ts';
import { listed, type PlannedDevice, refuseEnded } from './planned-device.ts';

/** All bridges of a host. */
export class OfferedBridges {
  private readonly random: Random;
  private readonly drivers = new Map<string, RunningGuest>();
  /** Addresses in use, each by its bridge and itself, and whose they are. */
  private readonly addresses = new Map<string, string>();

  /** `random` makes the addresses of cards that are given none. */
  constructor(random: Random) {
    this.random = random;
  }

  /** Let guests have ports of it from now on. */
  offer(bridge: string, driver: RunningGuest): void {
    this.drivers.set(bridge, driver);
  }

  /** The cards that guest `name` shall have. @throws SplitringError BAD_CONFIG, NO_SUCH_BRIDGE, DRIVER_DOMAIN_ENDED */
  plan(name: string, nics: readonly CheckedNic[]): PlannedDevice[] {
    const taken = new Map(this.addresses);
    return nics.map((nic, index) => {
      const { bridge, mac = this.makeMac() } = nic;
      const driver = this.drivers.get(bridge);
      if (driver === undefined) {
        const message = `Cannot create ${name}: no bridge ${bridge}; there is ${listed(this.drivers)}`;
        throw new SplitringError('NO_SUCH_BRIDGE', message, { bridge });
      }
      refuseEnded(name, driver);
      const owner = taken.get(`${bridge} ${mac}`);
      if (owner !== undefined) {
        const whose = owner === name ? 'another card of its own' : owner;
        const message = `Cannot create ${name}: ${mac} on ${bridge} belongs to ${whose}`;
        throw new SplitringError('BAD_CONFIG', message, { mac, bridge });
      }
      taken.set(`${bridge} ${mac}`, name);
      const handle = String(index);
      return {
        type: 'vif',
        id: handle,
        driver,
        frontKeys: { mac, handle, mtu: '1500' },
        backKeys: { ...nicKeys(nic), mac, handle },
      };
    });
  }

  /** Note that planned cards are a guest's. @returns what ends that */
  use(name: string, cards: readonly PlannedDevice[]): () => void {
    const addresses = cards.map(({ backKeys: { bridge, mac } }) => `${bridge} ${mac}`);
    for (const address of addresses) this.addresses.set(address, name);
    return () => {
      for (const address of addresses) this.addresses.delete(address);
    };
  }

  /** A random address below Xen's prefix, 00:16:3e. */
  private makeMac(): string {
    const tail = (this.random.nextU32() & 0x7fffff).toString(16).padStart(6, '0');
    return `00:16:3e:${tail.slice(0, 2)}:${tail.slice(2, 4)}:${tail.slice(4)}`;
  }
}
