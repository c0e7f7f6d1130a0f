// Copy 32 pages out of grants of another domain, in one batch of grant copies, or by hand between known views.
import { type CopyOp, type FrameNumber, GNTST } from '@splitring/hypervisor';
import type { OpenSubject } from '../../harness/contract.ts';
import { makeMachine, time } from '../machine.ts';
import type { HypervisorParams } from '../params.ts';

/** Open the subject. */
export function open({ way, bytes }: HypervisorParams): OpenSubject {
  const { guest, driver, run, refs } = makeMachine();
  const lengthBytes = Number(bytes);
  const own = driver.allocateFrames(driver.domid, refs.length);
  const ops = refs.map(
    (ref, i): CopyOp => ({
      source: { dom: guest.domid, ref, offset: 0 },
      dest: { frame: (own.first + i) as FrameNumber, offset: 0 },
      lengthBytes,
      status: GNTST.okay,
    }),
  );
  const starts = refs.map((_, i) => i * 4096);
  const byHand = () => {
    for (const start of starts) own.bytes.set(run.bytes.subarray(start, start + lengthBytes), start);
  };
  const once = way === 'copy' ? () => driver.copyGrants(ops) : byHand;
  const batches = (pages: number) => Math.max(1, Math.round(pages / refs.length));
  return { trial: (operations) => ({ value: time(batches(operations), once) / refs.length }) };
}
