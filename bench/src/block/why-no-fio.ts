// Whether fio can be measured here.
import { spawnSync } from 'node:child_process';

/** Why fio cannot run here with this engine; undefined if it can. */
export function whyNoFio(engine: string): string | undefined {
  const { error, stdout } = spawnSync('fio', ['--enghelp'], { encoding: 'utf8' });
  if (error !== undefined) return 'fio is not installed (apt install fio)';
  return stdout.split(/\s+/).includes(engine) ? undefined : `this fio has no engine ${engine}`;
}
