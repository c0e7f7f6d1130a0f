// Entry of a subject's own process: import its module, then serve "trial N" lines until stdin ends.
//
// A process for each subject keeps its type feedback and heap to itself, and lets the driver interleave subjects trial by
// trial: an idle subject sleeps.
import process from 'node:process';
import { createInterface } from 'node:readline';
import type { Params, SubjectModule, Trial } from './contract.ts';

const [url = '', params = '{}'] = process.argv.slice(2);

const answer = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);

// JSON and a dynamic import cannot be typed; both ends of this pipe are ours.
const module = (await import(url)) as SubjectModule;
const subject = await module.open(JSON.parse(params) as Params);
answer({ ready: true });

for await (const line of createInterface({ input: process.stdin })) {
  const operations = Number(line.split(' ')[1]);
  const before = process.resourceUsage().involuntaryContextSwitches;
  const trial: Trial = await subject.trial(operations);
  const switches = process.resourceUsage().involuntaryContextSwitches - before;
  answer({ ...trial, clean: switches === 0 && trial.clean !== false });
}
await subject.close?.();
process.exit(0);
