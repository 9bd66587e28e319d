// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Scenarios on the official Java SDK.
 *
 * <pre>
 * run SCENARIO key=value...   one scenario; exit code 0 when every step held
 * serve                       scenarios asked for on standard input, many at a time, until it ends
 * list                        the names of the scenarios
 * </pre>
 *
 * A line asked for is {@code {"id":1,"scenario":"send_sync","with":{"namesrv":"127.0.0.1:9876","prefix":"a1"}}}, or
 * {@code {"stop":1}} for one that runs until told. Each step answers one line with its id, and the last line of a
 * scenario holds {@code "done":true}.
 */
public final class Main {
    private static final Map<String, Scenario> SCENARIOS = new TreeMap<>();

    static {
        Sending.list(SCENARIOS);
        Subscribing.list(SCENARIOS);
        Groups.list(SCENARIOS);
        Delaying.list(SCENARIOS);
        Pulling.list(SCENARIOS);
        Topics.list(SCENARIOS);
        Popping.list(SCENARIOS);
        PopByHand.list(SCENARIOS);
        Ordering.list(SCENARIOS);
        Tracing.list(SCENARIOS);
        Load.list(SCENARIOS);
        Grpc.list(SCENARIOS);
        GrpcLite.list(SCENARIOS);
        Spring.list(SCENARIOS);
        GrpcSpring.list(SCENARIOS);
        GrpcOperating.list(SCENARIOS);
        Transactions.list(SCENARIOS);
        Operating.list(SCENARIOS);
        Keeping.list(SCENARIOS);
        Light.list(SCENARIOS);
        Naming.list(SCENARIOS);
        FastPort.list(SCENARIOS);
        Access.list(SCENARIOS);
    }

    private Main() {
    }

    public static void main(String[] args) throws Exception {
        String command = args.length == 0 ? "" : args[0];
        switch (command) {
            case "run" -> System.exit(runOne(args) ? 0 : 1);
            case "serve" -> serve();
            case "list" -> SCENARIOS.keySet().forEach(System.out::println);
            default -> {
                System.err.println("usage: run SCENARIO namesrv=HOST:PORT [prefix=WORD] [key=value...] | serve | list");
                System.exit(2);
            }
        }
    }

    private static boolean runOne(String[] args) throws Exception {
        Map<String, String> with = new HashMap<>();
        with.put("prefix", "p" + System.currentTimeMillis());
        for (int i = 2; i < args.length; i++) {
            int cut = args[i].indexOf('=');
            if (cut < 0) {
                throw new IllegalArgumentException("not key=value: " + args[i]);
            }
            with.put(args[i].substring(0, cut), args[i].substring(cut + 1));
        }
        Context context = new Context(0, with);
        Thread stdin = new Thread(() -> stopAtEnd(context), "stdin");
        stdin.setDaemon(true);
        stdin.start();
        return perform(args.length > 1 ? args[1] : "", context);
    }

    /** A scenario of {@code run} that goes on until told ends with the first line or the end of standard input. */
    private static void stopAtEnd(Context context) {
        try {
            System.in.read();
        } catch (java.io.IOException gone) {
            // The same as its end.
        }
        context.stop();
    }

    private static void serve() throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Map<Long, Context> running = new ConcurrentHashMap<>();
        String line;
        while ((line = in.readLine()) != null) {
            JSONObject asked = JSON.parseObject(line);
            if (asked.containsKey("stop")) {
                Context context = running.get(asked.getLong("stop"));
                if (context != null) {
                    context.stop();
                }
                continue;
            }
            Map<String, String> with = new HashMap<>();
            asked.getJSONObject("with").forEach((key, value) -> with.put(key, String.valueOf(value)));
            long id = asked.getLongValue("id");
            Context context = new Context(id, with);
            running.put(id, context);
            new Thread(() -> {
                perform(asked.getString("scenario"), context);
                running.remove(id);
            }, "scenario-" + id).start();
        }
        System.exit(0);
    }

    private static boolean perform(String name, Context context) {
        Scenario scenario = SCENARIOS.get(name);
        String error = null;
        try {
            if (scenario == null) {
                throw new CheckFailed("no scenario '" + name + "'; known: " + SCENARIOS.keySet());
            }
            scenario.run(context);
        } catch (CheckFailed failed) {
            error = failed.getMessage();
        } catch (Throwable thrown) {
            java.io.StringWriter trace = new java.io.StringWriter();
            thrown.printStackTrace(new java.io.PrintWriter(trace));
            error = trace.toString();
        }
        try {
            context.close();
        } catch (Throwable thrown) {
            error = error == null ? "close: " + thrown : error;
        }
        context.done(error);
        return error == null;
    }
}
