// Property tests draw from one seed in the suite, so that a run says something about the change and not about luck. Long
// runs (test/soak) draw anew each time; SPLITRING_SEED=n draws from n.
import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env['SPLITRING_SEED'] ?? 20_261_122) });
