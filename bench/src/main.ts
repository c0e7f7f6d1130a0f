// npm run bench [-- SUITE…] [options]: measure, print tables, write the report.
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { run } from './harness/run.ts';
import { startRealtime } from './harness/subject-process.ts';
import { suites } from './suites.ts';

const HELP = `npm run bench [-- SUITE…] [options]

Suites: ${suites.map(({ name }) => name).join(', ')} (all, if none is named)

  --quick            five samples a row, done within 45 s
  --case PATTERN     only cases whose name matches the regular expression
  --subject PATTERN  only subjects whose name matches, and their baselines
  --rounds N         rounds per set of processes
  --json FILE        write the rows as JSON
  --html FILE        where the report goes (report/bench.html)
  --bars             compare with what is promised, bar by bar
  --realtime         run subjects above all other work of a busy machine (Linux, root)
  --list             name the cases and subjects, measure nothing
  --help             this text
`;

function fail(message: string): never {
  console.error(`${message}; see npm run bench -- --help`);
  process.exit(2);
}

function options() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean', default: false },
        bars: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
        realtime: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        case: { type: 'string' },
        subject: { type: 'string' },
        rounds: { type: 'string' },
        json: { type: 'string' },
        html: { type: 'string', default: 'report/bench.html' },
      },
    });
  } catch (error) {
    return fail(error instanceof Error ? (error.message.split('. ')[0] ?? error.message) : String(error));
  }
}

function pattern(option: string, text: string | undefined): RegExp {
  try {
    return new RegExp(text ?? '');
  } catch {
    return fail(`--${option} is not a regular expression: ${text}`);
  }
}

const { values, positionals } = options();
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const unknown = positionals.find((name) => !suites.some((suite) => suite.name === name));
if (unknown !== undefined) fail(`There is no suite "${unknown}"`);
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) fail('--rounds takes a number above 0');

const chosen = suites.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const casePattern = pattern('case', values.case);
const subjectPattern = pattern('subject', values.subject);
if (values.list) {
  for (const suite of chosen) {
    for (const { name, subjects } of suite.cases()) {
      console.log(`${suite.name} ${name}: ${subjects.map((subject) => subject.name).join(' ')}`);
    }
  }
  process.exit(0);
}
if (values.json !== undefined) {
  try {
    writeFileSync(values.json, '[]\n'); // better now than after the measurement
  } catch (error) {
    fail(`Cannot write ${values.json}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
if (values.realtime) startRealtime();
process.exitCode = await run({
  suites: chosen,
  quick: values.quick,
  bars: values.bars,
  casePattern,
  subjectPattern,
  html: values.html,
  ...(rounds === undefined ? {} : { rounds }),
  ...(values.json === undefined ? {} : { json: values.json }),
});
