// Translate a page for a device: out of the IOTLB, or by walking the tables.
import { Hypervisor, routingId } from '@splitring/hypervisor';
import type { OpenSubject } from '../../harness/contract.ts';
import { time } from '../machine.ts';
import type { HypervisorParams } from '../params.ts';

const clock = { nowMs: () => 0 };
const ROUTING_ID = routingId(0, 4, 0);
/** More pages than the IOTLB has room for. */
const MANY = 4096;

/** Open the subject. */
export function open({ way }: HypervisorParams): OpenSubject {
  const hypervisor = new Hypervisor();
  const domain = hypervisor.createDomain({ name: 'driver' });
  const hypercalls = hypervisor.attachInThread(domain);
  const bus = hypercalls.startPciBus(clock);
  hypervisor.pci.add(ROUTING_ID, domain.domid);
  hypervisor.pci.assign(ROUTING_ID, domain.domid, domain.generation);
  const requester = bus.iommu.requester(ROUTING_ID);
  const { first } = hypercalls.allocateFrames(hypercalls.domid, MANY);
  const pages = way === 'hit' ? 16 : MANY;
  for (let i = 0; i < pages; i++) bus.iommu.translate(requester, first + i, true);
  let page = 0;
  let sum = 0;
  return {
    trial: (operations) => {
      const before = bus.iommu.misses;
      const value = time(operations, () => {
        sum += bus.iommu.translate(requester, first + page, true);
        page = page + 1 === pages ? 0 : page + 1;
      });
      const missed = (bus.iommu.misses - before) / operations;
      if (sum < 0 || (way === 'hit' ? missed > 0.1 : missed < 0.9)) throw new Error(`${missed} misses an operation`);
      return { value };
    },
  };
}
