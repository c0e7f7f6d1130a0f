// A device that a new domain shall have, before it has a domain.
import type { DomId } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { RunningGuest } from './domain.ts';
import type { DeviceRequest } from './toolstack.ts';

/** A device and who serves it. */
export interface PlannedDevice extends Omit<DeviceRequest, 'front' | 'back'> {
  readonly driver: RunningGuest;
}

/** What the toolstack is asked to give domain `front`. */
export function requestOf({ driver, ...device }: PlannedDevice, front: DomId): DeviceRequest {
  return { ...device, front, back: driver.domid };
}

/** The number of a driver domain that has ended may be somebody else's: nothing is attached to it. @throws SplitringError DRIVER_DOMAIN_ENDED */
export function refuseEnded(name: string, driver: RunningGuest): void {
  if (!driver.hasEnded) return;
  const message = `Cannot create ${name}: driver domain ${driver.name}, which serves its devices, has ended`;
  throw new SplitringError('DRIVER_DOMAIN_ENDED', message, { driverDomain: driver.name });
}

/** Names for a message about one that is not among them. */
export function listed(names: ReadonlyMap<string, unknown>): string {
  return [...names.keys()].join(', ') || 'none';
}
