// Map 32 grants of another domain, reach every page, unmap them: one call each, one batch, or one contiguous run.
import {
  type FrameNumber,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTST,
  type GrantHandle,
  type MapOp,
  type UnmapOp,
} from '@splitring/hypervisor';
import type { OpenSubject } from '../../harness/contract.ts';
import { makeMachine, time } from '../machine.ts';
import { GRANTS, type HypervisorParams } from '../params.ts';

const NO_HANDLE = -1 as GrantHandle; // filled in by the call
const PAGE = 4096;

/** Open the subject. */
export function open({ way }: HypervisorParams): OpenSubject {
  const { guest, driver, refs } = makeMachine();
  const flags = way === 'run-device' ? GNTMAP_host_map | GNTMAP_device_map : GNTMAP_host_map;
  const maps = refs.map(
    (ref): MapOp => ({ dom: guest.domid, ref, flags, status: GNTST.okay, handle: NO_HANDLE, frame: 0 as FrameNumber }),
  );
  const unmaps = maps.map((): UnmapOp => ({ handle: NO_HANDLE, flags, status: GNTST.okay }));
  const ones = maps.map((map, i) => ({ map: [map], unmap: [unmaps[i] as UnmapOp] }));
  const first = [unmaps[0] as UnmapOp];
  let sum = 0;

  const single = () => {
    for (const { map } of ones) {
      driver.mapGrants(map);
      sum += driver.mappedBytes((map[0] as MapOp).handle)[0] as number; // one each
    }
    ones.forEach(({ map, unmap }) => {
      (unmap[0] as UnmapOp).handle = (map[0] as MapOp).handle;
      driver.unmapGrants(unmap);
    });
  };
  const batch = () => {
    driver.mapGrants(maps);
    for (let i = 0; i < GRANTS; i++) {
      const { handle } = maps[i] as MapOp; // below GRANTS
      sum += driver.mappedBytes(handle)[0] as number;
      (unmaps[i] as UnmapOp).handle = handle;
    }
    driver.unmapGrants(unmaps);
  };
  const run = () => {
    const { handles, run: mapped } = driver.mapRun(guest.domid, refs, flags);
    const bytes = mapped?.bytes ?? new Uint8Array();
    for (let at = 0; at < bytes.length; at += PAGE) sum += bytes[at] as number;
    (first[0] as UnmapOp).handle = handles[0] as GrantHandle; // consecutive references: one handle
    driver.unmapGrants(first);
  };
  const once = way === 'single' ? single : way === 'batch' ? batch : run;
  return {
    trial: (operations) => {
      const value = time(operations, once);
      if (Number.isNaN(sum) || unmaps[0]?.status !== GNTST.okay) throw new Error('mappings failed');
      return { value };
    },
  };
}
