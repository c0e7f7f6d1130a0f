// Frames from guest to guest through front end, ring, driver domain and bridge.
import type { OpenSubject, Trial } from '../../harness/contract.ts';
import { NetMachine } from '../machine.ts';
import type { NetParams } from '../params.ts';

/** Open the subject. */
export async function open(params: NetParams): Promise<OpenSubject> {
  const machine = await NetMachine.start(params);
  return {
    trial: async (operations): Promise<Trial> => {
      const { reports, elapsedNs, driverCpuNs } = await machine.trial(operations);
      const received = reports.reduce((sum, report) => sum + report.received, 0);
      if (reports.some((report) => report.bad > 0)) throw new Error('A frame was lost, damaged or out of order');
      const [first] = reports;
      if (params.traffic === 'echo' && first?.times !== undefined) {
        const at = (share: number) => (first.times?.[Math.floor((first.times.length - 1) * share)] ?? 0) / 2;
        return { value: at(0.5), metrics: { p99: at(0.99) } };
      }
      const guestCpuNs = reports.reduce((sum, report) => sum + (report.cpuNs ?? 0), 0);
      const notifications = reports.reduce((sum, report) => sum + report.notifications, 0);
      const ends = reports.map((report) => report.endNs);
      const spread = (Math.max(...ends) - Math.min(...ends)) / elapsedNs;
      return {
        value: elapsedNs / received,
        metrics: {
          'cpu-driver': driverCpuNs / received,
          'cpu-guests': guestCpuNs / received,
          notifications: notifications / received,
          unfairness: spread,
          time: elapsedNs / received,
        },
      };
    },
    close: () => machine.close(),
  };
}
