// Frames from guest to guest through front end, ring, driver domain and bridge.
import type { OpenSubject, Trial } from '../../harness/contract.ts';
import { NetMachine } from '../machine.ts';
import { type NetParams, PAGE_BYTES } from '../params.ts';

/** Frames of each sender before the first trial, where few come in one: code is compiled after so many calls. */
const WARMING_FRAMES = 40_000;

/** Open the subject. */
export async function open(params: NetParams): Promise<OpenSubject> {
  const machine = await NetMachine.start(params);
  if (params.bytes > PAGE_BYTES || params.guests > 2) await machine.trial(WARMING_FRAMES);
  const senders = params.traffic === 'ring' ? params.guests : params.guests / 2;
  return {
    trial: async (operations): Promise<Trial> => {
      const each = Math.ceil(operations / senders); // a trial is as long with many guests as with two
      const { reports, endsNs, driverCpuNs } = await machine.trial(each);
      if (reports.some((report) => report.bad > 0)) throw new Error('A frame was lost, damaged or out of order');
      const [first] = reports;
      if (params.traffic === 'echo' && first?.times !== undefined) {
        const at = (share: number) => (first.times?.[Math.floor((first.times.length - 1) * share)] ?? 0) / 2;
        const hops = first.hops && {
          'hop-send': first.hops.send,
          'hop-driver': first.hops.driver,
          'hop-receive': first.hops.receive,
        };
        return { value: at(0.5), metrics: { p99: at(0.99), ...hops } };
      }
      const sum = (of: (report: (typeof reports)[number]) => number) =>
        reports.reduce((total, report) => total + of(report), 0);
      const frames = each * senders;
      const elapsedNs = Math.max(...endsNs);
      return {
        value: elapsedNs / frames,
        metrics: {
          'cpu-driver': driverCpuNs / frames,
          'cpu-guests': sum((report) => report.cpuNs ?? 0) / frames,
          notifications: sum((report) => report.notifications) / frames,
          unfairness: 1 - Math.min(...endsNs) / elapsedNs,
          time: elapsedNs / frames,
        },
      };
    },
    close: () => machine.close(),
  };
}
