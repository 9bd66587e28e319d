// SPDX-License-Identifier: Apache-2.0

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs Apache's mqadmin for one command line after the other, in one JVM: each line of the input holds the arguments,
 * separated by tabs. For each it prints a line "begin", what the command printed, what it wrote to the error stream
 * after a line "stderr", and a line "end" with the exit code.
 *
 * <p>Run by the source launcher, with -Djava.security.manager=allow, so that a command that ends the JVM does not.
 */
public final class Mqadmin {
    private static final class Exit extends SecurityException {
        final int code;

        Exit(int code) {
            this.code = code;
        }
    }

    @SuppressWarnings("removal")
    private static final class NoExit extends SecurityManager {
        @Override
        public void checkPermission(java.security.Permission permission) {
        }

        @Override
        public void checkExit(int code) {
            throw new Exit(code);
        }
    }

    @SuppressWarnings("removal")
    public static void main(String[] arguments) throws Exception {
        PrintStream real = System.out;
        System.setSecurityManager(new NoExit());
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            ByteArrayOutputStream err = new ByteArrayOutputStream();
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
            int code = 0;
            try {
                MQAdminStartup.main0(line.split("\t"), null);
            } catch (Exit exit) {
                code = exit.code;
            } catch (Throwable thrown) {
                thrown.printStackTrace();
                code = 1;
            }
            real.print("\u0001begin\n" + text(out) + "\u0001stderr\n" + text(err) + "\u0001end " + code + "\n");
            real.flush();
        }
        System.setSecurityManager(null);
        System.exit(0);
    }

    private static String text(ByteArrayOutputStream bytes) {
        String text = bytes.toString(StandardCharsets.UTF_8);
        return text.isEmpty() || text.endsWith("\n") ? text : text + "\n";
    }
}
